"""Describe in words how the configs of two runs differ."""

from collections.abc import Mapping

from mmengine.config import Config

from mmkd.config.student import is_distillation, model_config
from mmkd.teachers import teacher_name

# The keys that a training depends on. Other keys are variables, or for evaluation and logging.
_KEYS = (
    'train_dataloader',
    'val_dataloader',
    'val_evaluator',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'custom_hooks',
    'randomness',
)
_NAMES = {
    'randomness.seed': 'Seed',
    'optim_wrapper.optimizer.lr': 'Learning rate',
    'optim_wrapper.optimizer.type': 'Optimiser',
    'param_scheduler': 'Schedule of the learning rate',
    'train_dataloader.batch_size': 'Batch size',
}
_LENGTHS = {'train_cfg.max_iters': 'iters', 'train_cfg.max_epochs': 'epochs'}
_HEADS = ('decode_head', 'bbox_head', 'rpn_head')


def differences(config: Config, other: Config) -> list[str]:
    """Return a sentence for each difference between two configs; none if they train alike."""
    return [
        *_of_terms(config, other),
        *_of_trees('Network: ', model_config(config), model_config(other)),
        *_of_trees('', _training(config), _training(other)),
    ]


def describe(config: Config, others: Mapping[str, Config]) -> tuple[str, list[str]]:
    """Return a heading and sentences about what a config trains and how.

    It is compared with the most similar config that trains the same kind of network. If there is
    none, the sentences describe its distillation.

    Args:
        config: The config to describe.
        others: Configs by name; of equally similar ones the first counts.
    """
    heading = _summary(config)
    said = {
        name: differences(config, other)
        for name, other in others.items()
        if _network(other) == _network(config)
    }
    if not said:
        return heading, _of_terms(config, None)
    name = min(said, key=lambda name: len(said[name]))
    if not said[name]:
        return f'{heading} Same as {name}.', []
    return f'{heading} Compared with {name}:', said[name]


def _summary(config: Config) -> str:
    loop, loader = config.train_cfg, config.train_dataloader
    length = f'{loop.max_iters} iters' if loop.get('max_iters') else f'{loop.max_epochs} epochs'
    return (
        f'{"Distils into" if is_distillation(config) else "Trains"} {_network(config)} for '
        f'{length} of batch {loader.batch_size} on {_type(loader.dataset)}.'
    )


def _network(config: Config) -> str:
    model = model_config(config)
    parts = (_type(model), *(_type(model.get(key)) for key in ('backbone', *_HEADS)))
    return ', '.join(dict.fromkeys(part for part in parts if part))


def _of_terms(config: Config, other: Config | None) -> list[str]:
    ours = _distillation(config)
    theirs = _distillation(other) if other else dict(teacher=None, terms={})
    said = []
    if ours['teacher'] != theirs['teacher']:
        instead = f' (other run: {theirs["teacher"] or "none"})' if other else ''
        said.append(f'Teacher: {ours["teacher"] or "none"}{instead}.')
    for name, term in ours['terms'].items():
        if name in theirs['terms']:
            said += _of_trees(f'Term {name}: ', term, theirs['terms'][name])
        else:
            said.append(f'Term {name} added: {_term(term)}.')
    said += [f'Term {name} removed.' for name in theirs['terms'] if name not in ours['terms']]
    return said


def _training(config: Config) -> dict:
    training = {key: config[key] for key in _KEYS if config.get(key) is not None}
    if config.get('load_from') and not config.get('resume'):  # otherwise it is a resumed run
        training['load_from'] = config.load_from
    return training


def _distillation(config: Config) -> dict:
    if not is_distillation(config):
        return dict(teacher=None, terms={})
    terms = {name: term for name, term in config.model.distill.items() if term is not None}
    return dict(teacher=teacher_name(config.model.teacher), terms=terms)


def _term(term: Mapping) -> str:
    loss = dict(term['loss'])
    arguments = ', '.join(f'{key}={_short(value)}' for key, value in loss.items() if key != 'type')
    text = (
        f"{_type(loss)}{f' ({arguments})' if arguments else ''} between the student's "
        f"{_short(term['student'])} and the teacher's {_short(term['teacher'])}, "
        f'{_weight(term.get("weight", 1.0))}'
    )
    if term.get('adapter'):
        text += f', through a {_type(term["adapter"])}'
    if term.get('schedule'):
        text += f', {_type(term["schedule"]).replace("_", " ")}'
    return text


def _weight(weight: float | Mapping) -> str:
    if isinstance(weight, Mapping):
        return f"with a share of {_short(weight['share'])} of the task's gradient"
    return f'weight {_short(weight)}'


def _of_trees(prefix: str, ours: Mapping, theirs: Mapping) -> list[str]:
    """Return a sentence for every leaf that differs, and one for a list with different types."""
    a, b = _flat(ours), _flat(theirs)
    changed = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
    said = []
    for key in changed:
        if any(key.startswith(f'{parent}.') for parent in changed):
            continue
        subject = prefix + _NAMES.get(key, key.removeprefix('loss.') if prefix else key)
        if key not in a:
            said.append(f'{subject}: not set (other run: {_short(b[key])}).')
        elif key not in b:
            said.append(f'{subject}: {_short(a[key])} (other run: not set).')
        elif key in _LENGTHS:
            said.append(f'{a[key]} {_LENGTHS[key]} (other run: {b[key]}).')
        else:
            said.append(f'{subject}: {_short(a[key])} (other run: {_short(b[key])}).')
    return said


def _flat(tree: object, path: str = '') -> dict[str, object]:
    """Return leaves by dotted path; a list of dicts is also a leaf, of its types."""
    if isinstance(tree, Mapping):
        items, leaf = tree.items(), {}
    elif isinstance(tree, list | tuple) and any(isinstance(v, Mapping) for v in tree):
        items, leaf = enumerate(tree), {path: [_type(v) for v in tree]}
    else:
        return {path: list(tree) if isinstance(tree, tuple) else tree}
    inner = (_flat(v, f'{path}.{k}' if path else str(k)) for k, v in items)
    return leaf | {key: value for part in inner for key, value in part.items()}


def _type(node: object) -> str:
    kind = node.get('type', '') if isinstance(node, Mapping) else ''
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rsplit('.', 1)[-1]


def _short(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return '[' + ', '.join(map(_short, value)) + ']'
    return f'{value:g}' if isinstance(value, float) else str(value)
