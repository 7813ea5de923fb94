"""``--cfg-options``: parse them, and override parts of a config."""

import argparse
import difflib
import inspect
import logging
import re
from collections.abc import Sequence

from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmkd.config.checks.sections import check_sections
from mmkd.config.home import expand_home
from mmkd.errors import UserError, one_line

# What MMEngine and its libraries read in a config beyond the Runner's arguments.
_READ_LATER = (
    'compile', 'custom_imports', 'find_unused_parameters', 'metainfo', 'model_wrapper_cfg',
    'sync_bn', 'tta_model', 'tta_pipeline',
)  # fmt: skip


# Characters that no argument can hold. MMEngine takes every space out of a value, also out of a
# path or a class name, and reads a number in quotes as a number.
_SPACE, _QUOTED = '\0', '\1'


class ConfigOptions(DictAction):
    """``--cfg-options``, with mistakes reported as errors of the command line.

    Values are read as MMEngine reads them, but texts keep their spaces, and what stands in quotes
    is a text: ``data_root="'2024'"``.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        for text in values:
            key, sign, value = text.partition('=')
            try:
                super().__call__(
                    parser, namespace, [f'{key}{sign}{_mark_texts(value)}'], option_string
                )
            except (AssertionError, RecursionError, ValueError):
                raise argparse.ArgumentError(
                    self, f'{text[:80]!r}: expected key=value, with balanced brackets'
                ) from None
            options = getattr(namespace, self.dest)
            options[key] = _unmark(options[key])


def _mark_texts(value: str) -> str:
    """Return a value in which spaces inside of a text, and texts in quotes, are marked."""
    value = value.strip()
    quoted = r"""(?<![^\s,(\[])(["'])([^"',()\[\]]*)\1(?![^\s,)\]])"""
    value = re.sub(quoted, lambda found: _QUOTED + found[2].replace(' ', _SPACE), value)
    is_list = ',' in value or value.startswith(('(', '['))
    # In a list, a space beside a comma or a bracket only separates.
    inside = r'(?<=[^\s,()\[\]]) +(?=[^\s,()\[\]])' if is_list else ' +'
    return re.sub(inside, lambda found: _SPACE * len(found[0]), value)


def _unmark(value: object) -> object:
    if isinstance(value, list | tuple):
        return type(value)(map(_unmark, value))
    if isinstance(value, str):
        return value.replace(_SPACE, ' ').removeprefix(_QUOTED)
    return value


def parse_options(options: Sequence[str]) -> dict:
    """Return overrides of a config from texts as ``--cfg-options`` takes them, ``key=value``."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def merge_options(config: Config, options: dict) -> None:
    """Override parts of ``config`` by ``--cfg-options``.

    A warning names options that set a variable: what was made from it has its value already.

    Raises:
        UserError: An option begins with a key that neither the config nor MMEngine has, names a
            part of a value that does not have parts, or makes a part of the config invalid.
    """
    for option in options:
        _check_known(config, option)
    try:
        config.merge_from_dict(options)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = one_line(error)
        raise UserError(f'--cfg-options {", ".join(options)}: {reason}') from None
    expand_home(config._cfg_dict)
    check_sections(config)


def _check_known(config: Config, option: str) -> None:
    key = str(option).partition('.')[0]
    known = {*inspect.signature(Runner).parameters, *_READ_LATER}
    if key in known:
        return
    if key not in config:
        near = difflib.get_close_matches(key, sorted(known | config.keys()), n=1)
        hint = f'; did you mean {near[0]!r}?' if near else ''
        raise UserError(
            f'--cfg-options {option}: expected a key of the config or of MMEngine, not '
            f'{key!r}{hint}'
        )
    print_log(
        f'--cfg-options {option}: {key} is a variable of the config; the parts that were made from '
        'it keep its old value: override them too',
        'current',
        level=logging.WARNING,
    )
