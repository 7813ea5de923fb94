"""One training step with each family of MMSegmentation's and MMDetection's model zoos.

A family is a folder of a library's configs; its first config that describes a model stands for it.
Weights are random, images are synthetic.
"""

import copy
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.distillation.distiller import Distiller
from mmkd.errors import UserError
from mmkd.openmmlab.passes import initialise_without_files, told_the_time
from mmkd.openmmlab.samples import stated_sizes, synthetic_batch
from mmkd.registry import MODELS

# The partner of a network that is tried: a small one of its library, as teacher or as student.
PARTNERS = {
    'mmseg': ('configs/teachers/segformer_b0_streets.py', 'configs/students/fast_scnn_streets.py'),
    'mmdet': (
        'configs/teachers/retinanet_r18_streets.py',
        'configs/students/retinanet_r18half_streets.py',
    ),
}
# What the partner's terms compare, as teacher and as student.
_PARTNER_TAPS = {
    'mmseg': dict(attention=('backbone[3]', 'backbone[2]'), logits=('decode_head', 'decode_head')),
    'mmdet': dict(
        attention=('backbone[3]', 'backbone[3]'), logits=('bbox_head[0][0]', 'bbox_head[0][0]')
    ),
}
# Where a detector scores the classes of each location, or how likely an object is there.
_SCORE_TAPS = dict(
    bbox_head='bbox_head[0][0]', rpn_head='rpn_head[0][0]', mask_head='mask_head[1][0]'
)
# Smaller configs of a family first.
_SMALL = re.compile(r'r18|tiny|[-_]s[-_]|slim|scratch|r50|small|m-v2')
# Folders of configs without a model of their own.
_NO_FAMILY = {'_base_', 'common', 'dsdl', 'legacy_1.x', 'misc', 'deepfashion', 'scratch'}


def zoo_families(library: str) -> Iterator[str]:
    """Yield one config of each family, as ``library::folder/file.py``.

    Args:
        library: ``mmseg`` or ``mmdet``.
    """
    root = Path(find_spec(library).origin).parent / '.mim' / 'configs'
    for folder in sorted(root.iterdir()):
        if folder.name in _NO_FAMILY or not folder.is_dir():
            continue
        files = sorted(folder.glob('*.py'), key=lambda file: (not _SMALL.search(file.name), file))
        if files:
            yield f'{library}::{folder.name}/{files[0].name}'


def zoo_model(name: str) -> dict:
    """Return a zoo config's model as one process trains it, with nothing to download."""
    return _without_files(model_config(load_config(name)))


def step_as_student(name: str, folder: Path) -> str:
    """Distil a network of the zoo for one step, from the small teacher of its library.

    One term compares attention at the end of the backbones, another one the class scores.

    Args:
        name: The network's config, as :func:`zoo_families` gives it.
        folder: Where the teacher's files go.

    Returns:
        ``ok``; ``ok without logits: ...`` with the message that refuses the second term;
        ``excluded: ...`` for a network that does not train alone either; or why it fails.
    """
    return _step(name, folder, is_student=True)


def step_as_teacher(name: str, folder: Path) -> str:
    """Distil the small student of a library for one step, from a network of the zoo.

    Arguments and result are those of :func:`step_as_student`.
    """
    return _step(name, folder, is_student=False)


def _step(name: str, folder: Path, is_student: bool) -> str:
    library = name.partition('::')[0]
    init_default_scope(library)
    try:
        tried = zoo_model(name)
    except Exception as error:  # the config needs what is not installed, or has no model
        return f'excluded: its config does not load: {_reason(error)}'
    partner = _with_classes(zoo_model(PARTNERS[library][not is_student]), tried)
    student, teacher = (tried, partner) if is_student else (partner, tried)
    try:
        files = _write_teacher(teacher, folder)
        distiller, refused = _build(student, files, library, is_student)
        result = _train_once(distiller, distiller.student, distiller.teacher.network)
    except Exception as error:  # networks may raise anything
        result, refused = _reason(error), ''
    if result == 'ok':
        return f'ok without logits: {refused}' if refused else result
    return result if _trains_alone(tried) else f'excluded: it does not train alone: {result}'


def _reason(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())[:160]}'


def _build(student: dict, teacher: dict, library: str, is_student: bool) -> tuple[Distiller, str]:
    """Build a Distiller with both terms, or with the first and why the second is refused."""
    tried = student if is_student else model_config(load_config(teacher['config']))
    # Vision transformers can yield a map and a class token; some backbones yield one map. In
    # training TridentNet's third stage triples the batch.
    taps = dict(
        attention=['backbone[-1]', 'backbone[-1][0]', 'backbone', 'backbone.layer2'],
        logits=_logit_taps(tried),
    )
    refused = '' if taps['logits'] else 'it has no head whose class scores can be tapped'
    while True:
        terms = {
            name: _term(name, candidates[0], library, is_student)
            for name, candidates in taps.items()
            if candidates
        }
        model = dict(type='mmkd.Distiller', student=student, teacher=teacher, distill=terms)
        try:
            return MODELS.build(copy.deepcopy(model)), refused
        except UserError as error:
            text = str(error)
            messages = 'expected an entry [', 'add an index', 'one entry for each image'
            unfit = any(message in text for message in messages)
            if 'distill.attention' in text and unfit and taps['attention'][1:]:
                del taps['attention'][0]
            elif taps['logits']:
                refused = text
                del taps['logits'][0]
            else:
                raise


def _term(name: str, tap: str, library: str, is_student: bool) -> dict:
    partner_tap = _PARTNER_TAPS[library][name][not is_student]
    student, teacher = (tap, partner_tap) if is_student else (partner_tap, tap)
    term = dict(student=student, teacher=teacher)
    if name == 'attention':
        return term | dict(loss=dict(type='ActivationATLoss'))
    if library == 'mmseg':
        return term | dict(loss=dict(type='LogitKDLoss'))
    # Detectors score other numbers of anchors at a location.
    adapter = dict(type='Conv2d', kernel_size=1)
    return term | dict(loss=dict(type='FRSHeadLoss'), adapter=adapter)


def _logit_taps(model: dict) -> list[str]:
    """Return where the class scores of a network may be, the likeliest first."""
    if 'decode_head' not in model:
        return [tap for head, tap in _SCORE_TAPS.items() if head in model][:1]
    heads = model['decode_head']
    last = f'decode_head.{len(heads) - 1}' if isinstance(heads, list | tuple) else 'decode_head'
    return [f'{last}.conv_seg', last]


def _with_classes(model: dict, other: dict) -> dict:
    """Give a segmentor's heads as many classes as those of another one."""
    heads = other.get('decode_head', [])
    counts = [head.get('num_classes') for head in (heads if isinstance(heads, list) else [heads])]
    if counts and counts[-1] is not None:
        for part in ('decode_head', 'auxiliary_head'):
            parts = model.get(part) or []
            for head in parts if isinstance(parts, list) else [parts]:
                head['num_classes'] = counts[-1]
    return model


def _write_teacher(model: dict, folder: Path) -> dict:
    network = MODELS.build(copy.deepcopy(model))
    _initialise(network)  # without, features of deep networks overflow
    files = dict(config=str(folder / 'teacher.py'), checkpoint=str(folder / 'teacher.pth'))
    Config(dict(model=model, default_scope=None)).dump(files['config'])
    torch.save(network.state_dict(), files['checkpoint'])
    return files


def _trains_alone(model: dict) -> bool:
    try:
        network = MODELS.build(copy.deepcopy(model))
        return _train_once(network, network) == 'ok'
    except Exception:
        return False


def _train_once(model: torch.nn.Module, *networks: torch.nn.Module) -> str:
    """Train for one step on the smallest synthetic images that every network takes."""
    _initialise(model)
    model.train()
    stated = [size for network in networks for size in stated_sizes(network)]
    sizes = [(64, 64), *stated, (256, 256), (512, 512)]
    with told_the_time():
        for size in sizes:
            try:
                batch = synthetic_batch(networks[0], size, 2)
                losses = model(*batch, mode='loss')
                break
            except Exception:
                if size == sizes[-1]:
                    raise
    total, _ = model.parse_losses(losses)
    total.backward()
    reached = [p for p in networks[0].parameters() if p.grad is not None]
    return 'ok' if reached and torch.isfinite(total) else f'the loss is {total.item()}'


def _initialise(network: torch.nn.Module) -> None:
    torch.manual_seed(0)
    initialise_without_files(network)
    for module in network.modules():
        # MMDetection 3.5.1 draws these from a file only; else they hold what the memory held.
        if type(module).__name__ == 'TridentConv':
            torch.nn.init.kaiming_normal_(module.weight)


def _without_files(node: object) -> object:
    """Return a config with batch norm of one process and nothing that is read from a file."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ('init_cfg', 'pretrained', 'teacher_ckpt'):
                node[key] = None
            elif key == 'type' and value in ('SyncBN', 'MMSyncBN'):
                node[key] = 'BN'
            else:
                _without_files(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _without_files(value)
    return node
