"""The keys of ``model.teacher``, and what they say before the network is built."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmkd.config.load import config_name
from mmkd.config.types import type_name
from mmkd.errors import UserError, check_choice, check_number

# What names the network, with the further keys that it takes.
_KINDS = {
    'config': ('checkpoint',),
    'huggingface': (),
    'timm': ('checkpoint', 'arguments'),
    'type': ('checkpoint', 'mean', 'std', 'arguments'),
}
_COMMON = ('shard', 'dtype', 'scale')
_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')


def teacher_kind(teacher: Mapping) -> str:
    """Return the key that names the network: ``config``, ``huggingface``, ``timm`` or ``type``.

    Raises:
        UserError: There is not exactly one.
    """
    kinds = [kind for kind in _KINDS if teacher.get(kind)]
    if not kinds:
        raise UserError(
            'model.teacher.config: expected this key, or one of huggingface, timm, type; add one'
        )
    if len(kinds) > 1:
        raise UserError(
            f'model.teacher: {" and ".join(kinds)} name two networks: expected one; remove one, '
            'or add _delete_=True to replace an inherited teacher'
        )
    return kinds[0]


def check_teacher_keys(teacher: Mapping) -> None:
    """Check the keys of ``model.teacher`` and the types of their values.

    Raises:
        UserError: A key is missing, unknown, or has a value of another type.
    """
    if not isinstance(teacher, Mapping):
        raise UserError(f'model.teacher={teacher!r}: expected dict(config=..., checkpoint=...)')
    kind = teacher_kind(teacher)
    needed = [key for key in _KINDS[kind] if key != 'arguments']
    keys = (kind, *_KINDS[kind], *_COMMON)
    given = {key for key, value in teacher.items() if value is not None}
    unknown = sorted(given - set(keys))
    if unknown:
        raise UserError(f'model.teacher: unknown key {unknown[0]!r}: expected {", ".join(keys)}')
    for key in needed:
        if not teacher.get(key):
            raise UserError(f'model.teacher.{key}: expected this key; add it')
    for key in {kind, 'checkpoint'} & given:
        is_class = key == 'type' and callable(teacher[key])
        if not isinstance(teacher[key], str) and not is_class:
            raise UserError(
                f'model.teacher.{key}={teacher[key]!r}: expected a path or a name (str)'
            )
    for key in {'mean', 'std'} & given:
        _check_channels(key, teacher[key])
    if not isinstance(teacher.get('arguments', {}), Mapping | None):
        raise UserError(f'model.teacher.arguments={teacher["arguments"]!r}: expected a dict')
    if not isinstance(teacher.get('shard') or False, bool):
        raise UserError(f'model.teacher.shard={teacher["shard"]!r}: expected True or False')
    check_choice(
        'model.teacher.dtype',
        teacher.get('dtype') or 'float32',
        ('float32', 'bfloat16', 'float16'),
    )
    if 'scale' in given:
        check_number('model.teacher.scale', teacher['scale'], above=0)


def teacher_weights(teacher: Mapping) -> str:
    """Return the file or URL of the teacher's weights; it need not exist."""
    if not teacher.get('huggingface'):
        return teacher['checkpoint']
    files = [Path(teacher['huggingface']).expanduser() / name for name in _WEIGHTS]
    return str(next((file for file in files if file.is_file()), files[0]))


def check_weights_exist(teacher: Mapping) -> None:
    """Check that the teacher's file of weights exists; URLs pass.

    Raises:
        UserError: It does not.
    """
    path = teacher_weights(teacher)
    if '://' not in path and not Path(path).expanduser().is_file():
        raise UserError(missing_weights(teacher))


def missing_weights(teacher: Mapping) -> str:
    """Return the message about weights that are not there; of a config's, how to train them."""
    source, path = weights_source(teacher), Path(teacher_weights(teacher))
    if teacher_kind(teacher) != 'config':
        return f'{source} does not exist: expected weights; correct the path'
    fix = 'correct the path'
    if path.name == 'best.pth':  # as a training names it
        resume = ' --resume' if path.is_file() else ''  # half trained
        fix = f"run 'mmkd train {teacher['config']} --work-dir {path.parent}{resume}' first"
    return f'{source}: expected a trained teacher; {fix}'


def weights_source(teacher: Mapping) -> str:
    """Return ``key=value`` of what names the weights, for messages."""
    key = 'huggingface' if teacher.get('huggingface') else 'checkpoint'
    return f'model.teacher.{key}={teacher_weights(teacher)}'


def teacher_name(teacher: Mapping) -> str:
    """Return a short name of the network, for reports."""
    kind = teacher_kind(teacher)
    value = teacher[kind]
    if kind == 'config':
        return config_name(value)
    if kind == 'huggingface':
        return Path(value).name
    return value if kind == 'timm' else type_name(value)


def _check_channels(key: str, values: object) -> None:
    numbers = isinstance(values, Sequence) and not isinstance(values, str)
    numbers = numbers and all(isinstance(v, int | float) for v in values)
    if not numbers or len(values) not in (1, 3) or (key == 'std' and min(values) <= 0):
        raise UserError(
            f'model.teacher.{key}={values!r}: expected one number for each channel, R, G, B, on '
            'the scale 0 to 255'
        )
