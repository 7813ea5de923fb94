"""Write the config of a distillation as a file that people read and inherit."""

from collections.abc import Mapping, Sequence

# What configs/_base_/default_runtime.py adds to MMEngine's own hooks.
_HOOKS = {
    'step_seed': 'StepSeedHook',
    'term_schedule': 'LossWeightHook',
    'class_count': 'CheckNumClassesHook',
    'lean_heads': 'LeanHeadsHook',
    'finite_gradient': 'FiniteGradientHook',
    'teacher_score': 'ValidateTeacherHook',
    'broadcast_buffers': 'SyncBuffersFromRank0Hook',
    'best_checkpoint': 'BestCheckpointHook',
    'student_checkpoint': 'StudentCheckpointHook',
    'resumed': 'CheckResumedHook',
}


def distillation_text(
    student: str,
    teacher: Mapping[str, str],
    terms: Mapping[str, Mapping],
    comments: Sequence[str] = (),
    checkpoint: Mapping[str, object] | None = None,
    overrides: Mapping[str, object] | None = None,
    student_overrides: Mapping[str, object] | None = None,
    imports: Sequence[str] = (),
) -> str:
    """Return the text of a config that distils a student.

    Args:
        student: The student's config, as ``_base_`` takes it.
        teacher: The value of ``model.teacher``.
        terms: Each term's config, by name.
        comments: Lines of a comment at the top.
        checkpoint: What the checkpoint hook of a student's config lacks, if the config does not
            have mmkd's hooks; None leaves the hooks as they are.
        overrides: Further keys of the config, such as dataloaders.
        student_overrides: Keys of the student's network to change, such as ``decode_head``.
        imports: Modules that the student's config imports, which this one would replace.
    """
    lines = [f'# {line}' for line in comments]
    lines += [f'_base_ = {student!r}']
    modules = ['mmkd', *imports]
    lines += [f'custom_imports = dict(imports={modules!r}, allow_failed_imports=False)']
    network = '_base_.model'
    if student_overrides:
        changes = ', '.join(f'{k}={_change(k, v)}' for k, v in student_overrides.items())
        network = f'dict(_base_.model, {changes})'
    lines += ['model = dict(', '    _delete_=True,', "    type='mmkd.Distiller',"]
    lines += [f'    student={network},', '    teacher=dict(']
    lines += [f'        {key}={_literal(value)},' for key, value in teacher.items()]
    lines += ['    ),', '    distill=dict(']
    for name, term in terms.items():
        lines.append(f'        {name}=dict(')
        lines += [f'            {key}={_literal(value)},' for key, value in term.items()]
        lines.append('        ),')
    lines += ['    ),', ')']
    if checkpoint is not None:
        lines.append('default_hooks = dict(')
        lines += [f"    {key}=dict(type='mmkd.{hook}')," for key, hook in _HOOKS.items()]
        # By epoch, MMEngine's default, is always 0 in a loop by iterations.
        lines += ["    logger=dict(type='LoggerHook', log_metric_by_epoch=False),"]
        lines += ['    checkpoint=dict(']
        lines += [f'        {key}={value!r},' for key, value in checkpoint.items()]
        lines += ['        max_keep_ckpts=2,', "        backend_args=dict(backend='atomic'),"]
        lines += ['    ),', ')']
        lines += ["log_processor = dict(mean_pattern='loss|time|grad_norm|distill')"]
    for key, value in (overrides or {}).items():
        lines.append(f'{key} = {_literal(value)}')
    return '\n'.join(lines) + '\n'


def _change(key: str, change: Mapping | Sequence) -> str:
    """Return the text of one part of the student that differs from ``_base_.model``."""
    if isinstance(change, Mapping):
        return f'dict(_base_.model.{key}, {_arguments(change)})'
    parts = (f'dict(_base_.model.{key}[{i}], {_arguments(c)})' for i, c in enumerate(change))
    return f'[{", ".join(parts)}]'


def _literal(value: object) -> str:
    if isinstance(value, Mapping) and all(str(key).isidentifier() for key in value):
        return f'dict({_arguments(value)})'
    if isinstance(value, Mapping):
        return '{' + ', '.join(f'{k!r}: {_literal(v)}' for k, v in value.items()) + '}'
    if isinstance(value, list):
        return f'[{", ".join(map(_literal, value))}]'
    if isinstance(value, tuple):
        return f'({", ".join(map(_literal, value))}{"," if len(value) == 1 else ""})'
    return repr(value)


def _arguments(value: Mapping) -> str:
    return ', '.join(f'{key}={_literal(item)}' for key, item in value.items())
