"""Errors that you can fix, the checks that raise them, and warnings about renamed keys."""

import math
import warnings
from collections.abc import Collection


class UserError(ValueError):
    """Report a mistake in a config, a file or a command line.

    The message has the form ``key=value: expected X; fix``. The command-line tools print it as one
    line and exit with status 2.
    """


def one_line(error: BaseException, limit: int | None = 120) -> str:
    """Return an error's message as one line of at most ``limit`` characters; its type if empty."""
    return ' '.join(str(error).split())[:limit] or type(error).__name__


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise :class:`UserError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise UserError(f'{name}={value!r}: expected one of {", ".join(choices)}')


def check_number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    hint: str = '',
) -> None:
    """Raise :class:`UserError` unless ``value`` is a finite number, not a bool, in a range.

    Args:
        name: The key, for the message.
        value: What the config gives.
        least: The smallest value that is accepted.
        above: The bound that the value must exceed, instead of ``least``.
        most: The largest value that is accepted.
        below: The bound that the value must stay under, instead of ``most``.
        hint: What to add to the message, such as a unit or a fix.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if (
        not number
        or not math.isfinite(value)
        or (least is not None and value < least)
        or (above is not None and value <= above)
        or (most is not None and value > most)
        or (below is not None and value >= below)
    ):
        if most is None and below is None:
            bound = f'> {above}' if least is None else f'>= {least}'
        else:
            low = f'({above}' if least is None else f'[{least}'
            bound = f'in {low}, {below})' if most is None else f'in {low}, {most}]'
        raise UserError(f'{name}={value!r}: expected a number {bound}{hint}')


def check_integer(name: str, value: object, least: int | None = None) -> None:
    """Raise :class:`UserError` unless ``value`` is an integer >= ``least`` and not a bool."""
    if not is_integer(value, least):
        bound = '' if least is None else f' >= {least}'
        raise UserError(f'{name}={value!r}: expected an integer{bound}')


def is_integer(value: object, least: int | None = None) -> bool:
    """Return whether ``value`` is an integer >= ``least`` and not a bool."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return is_int and (least is None or value >= least)


def check_path(key: str, path: object) -> None:
    """Check that a path is a text: a command line takes the name ``2024`` for a number.

    Raises:
        UserError: It is not.
    """
    if not isinstance(path, str):
        raise UserError(
            f'{key}={path!r}: expected a path (str); on a command line, write {key}="\'{path}\'"'
        )


def warn_renamed(old: str, new: str) -> None:
    """Warn that a config uses an old name, which still works in this release.

    Args:
        old: The name in the config, such as ``TermScheduleHook``.
        new: The name to write instead.
    """
    text = f'{old} is now {new}; write {new}: the next release drops the old name'
    warnings.warn(text, FutureWarning, stacklevel=3)


def take_renamed_key(config: dict, old: str, new: str, where: str) -> dict:
    """Return ``config`` with the key ``old`` renamed to ``new``.

    Args:
        config: The arguments that a config gives.
        old: The key's name in the previous release.
        new: The key's name now.
        where: Where the config stands, for messages.

    Raises:
        UserError: Both keys are set.
    """
    if old not in config:
        return config
    if new in config:
        raise UserError(f'{where}: {old} and {new} are the same key; remove {old}')
    warn_renamed(f'{where}.{old}', new)
    return {new if key == old else key: value for key, value in config.items()}
