"""What tells two runs' configs apart, in words."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

from mmkd.configs import is_distillation, model_config

# What a training depends on; the rest is variables of the config, or evaluation and logging.
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
    'randomness.seed': 'The seed',
    'optim_wrapper.optimizer.lr': 'The learning rate',
    'optim_wrapper.optimizer.type': 'The optimiser',
    'param_scheduler': 'The schedule of the learning rate',
    'train_dataloader.batch_size': 'The batch size',
}
_LENGTHS = {'train_cfg.max_iters': 'iterations', 'train_cfg.max_epochs': 'epochs'}
_HEADS = ('decode_head', 'bbox_head', 'rpn_head')


def differences(config: Config, other: Config) -> list[str]:
    """Sentences about ``config`` as compared with ``other``; none if they train alike."""
    return [
        *_of_terms(config, other),
        *_of_trees('The network: ', model_config(config), model_config(other)),
        *_of_trees('', _training(config), _training(other)),
    ]


def describe(config: Config, others: Mapping[str, Config]) -> tuple[str, list[str]]:
    """What a config trains, and how: sentences, the first of which is a heading.

    It is compared with that of the others that trains the same kind of network with the fewest
    differences; where there is none, its distillation is told.

    Args:
        config: the one to describe.
        others: by name; of equally near ones the first counts.
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
        return f'{heading} As {name} does.', []
    return f'{heading} Against {name}:', said[name]


def _summary(config: Config) -> str:
    loop, loader = config.train_cfg, config.train_dataloader
    length = (
        f'{loop.max_iters} iterations' if loop.get('max_iters') else f'{loop.max_epochs} epochs'
    )
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
        instead = f' instead of {theirs["teacher"] or "nobody"}' if other else ''
        said.append(f'The teacher is {ours["teacher"] or "nobody"}{instead}.')
    for name, term in ours['terms'].items():
        if name in theirs['terms']:
            said += _of_trees(f'Term {name}: ', term, theirs['terms'][name])
        else:
            said.append(f'There is a term {name}: {_term(term)}.')
    said += [f'There is no term {name}.' for name in theirs['terms'] if name not in ours['terms']]
    return said


def _training(config: Config) -> dict:
    training = {key: config[key] for key in _KEYS if config.get(key) is not None}
    if config.get('load_from') and not config.get('resume'):  # else a start after a break
        training['load_from'] = config.load_from
    return training


def _distillation(config: Config) -> dict:
    if not is_distillation(config):
        return dict(teacher=None, terms={})
    terms = {name: term for name, term in config.model.distill.items() if term is not None}
    return dict(teacher=Path(config.model.teacher.config).stem, terms=terms)


def _term(term: Mapping) -> str:
    loss = dict(term['loss'])
    arguments = ', '.join(f'{key}={_short(value)}' for key, value in loss.items() if key != 'type')
    text = (
        f"{_type(loss)}{f' ({arguments})' if arguments else ''} between the student's "
        f"{_short(term['student'])} and the teacher's {_short(term['teacher'])}, "
        f'weight {term.get("weight", 1.0):g}'
    )
    if term.get('adapter'):
        text += f', through a {_type(term["adapter"])}'
    if term.get('schedule'):
        text += f', {_type(term["schedule"]).replace("_", " ")}'
    return text


def _of_trees(prefix: str, ours: Mapping, theirs: Mapping) -> list[str]:
    """A sentence for every leaf that differs; one for a list whose types do."""
    a, b = _flat(ours), _flat(theirs)
    changed = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
    said = []
    for key in changed:
        if any(key.startswith(f'{parent}.') for parent in changed):
            continue
        subject = prefix + _NAMES.get(key, key.removeprefix('loss.') if prefix else key)
        if key not in a:
            said.append(f'{subject} is left out; the other has {_short(b[key])}.')
        elif key not in b:
            said.append(f'{subject} is {_short(a[key])}; the other leaves it out.')
        elif key in _LENGTHS:
            said.append(f'{a[key]} {_LENGTHS[key]} instead of {b[key]}.')
        else:
            said.append(f'{subject} is {_short(a[key])} instead of {_short(b[key])}.')
    return said


def _flat(tree: object, path: str = '') -> dict[str, object]:
    """Leaves by dotted path; a list of dicts is also a leaf, of their types."""
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
