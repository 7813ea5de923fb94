"""Look at a student and a teacher on real images, before their terms are chosen."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmkd.analysis.choose_terms import Networks
from mmkd.analysis.feature_survey import (
    Feature,
    block_paths,
    inner_paths,
    outer_paths,
    survey_features,
)
from mmkd.config.class_names import class_names, plain_name
from mmkd.config.student import model_config
from mmkd.distillation.rng import preserve_rng_state
from mmkd.distillation.teacher_inputs import TeacherInputs
from mmkd.openmmlab.passes import run_without_loss
from mmkd.openmmlab.tasks import class_heads, is_detector, is_segmentor
from mmkd.registry import DATASETS, MODELS
from mmkd.teachers import TeacherNetwork


def build(config: Config) -> nn.Module:
    """Build the network that a config is about, initialised, which may download some weights."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope')), _quiet():
        network = MODELS.build(model_config(config))
        network.init_weights()
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    # Initialisation logs a line for every parameter.
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def load_training_batch(network: nn.Module, config: Config, count: int) -> tuple[Tensor, Sequence]:
    """Return the first training images of a config, as its network takes them.

    Args:
        network: The network, whose preprocessor is used.
        config: The network's config.
        count: Number of images.

    Returns:
        Images (B, 3, H, W) and their samples.
    """
    with DefaultScope.overwrite_default_scope(config.get('default_scope')), preserve_rng_state():
        dataset = DATASETS.build(config.train_dataloader.dataset)
        batch = pseudo_collate([dataset[i % len(dataset)] for i in range(count)])
        data = network.data_preprocessor(batch, training=True)
    return data['inputs'], data['data_samples']


def survey_pair(
    student: nn.Module, teacher: TeacherNetwork, config: Config, count: int = 2
) -> Networks:
    """Run both networks on training images of the student and return what they can compare.

    Args:
        student: The student.
        teacher: The teacher.
        config: The student's config.
        count: Number of images.

    Raises:
        UserError: The teacher cannot take the student's images.
    """
    images, samples = load_training_batch(student, config, count)
    convert = TeacherInputs(
        model_config(config).get('data_preprocessor'),
        teacher.preprocessor,
        multiple=teacher.multiple,
        size=teacher.size,
    )
    teacher_batch = convert(images, samples)
    size = tuple(images.shape[-2:])  # the teacher's features cover it too

    def survey(network: nn.Module, batch: tuple, paths: Sequence[str]) -> list[Feature]:
        network.eval()
        return survey_features(network, lambda: run_without_loss(network, *batch), size, paths)

    def of_student(paths: Sequence[str]) -> list[Feature]:
        return survey(student, (images, samples), paths)

    def of_teacher(paths: Sequence[str]) -> list[Feature]:
        return survey(network, teacher_batch, paths)

    network = teacher.network
    logits = scores = None
    if is_segmentor(student) and is_segmentor(network):
        taps = [_logits_tap(student), _logits_tap(network)]
        found = [of_student(taps[:1]), of_teacher(taps[1:])]
        if all(len(f) == 1 and f[0].tap == tap for f, tap in zip(found, taps, strict=True)):
            logits = tuple(taps)
    if is_detector(student) and is_detector(network):
        scores = _score_taps(student, network, of_student, of_teacher)
    same_classes, classes = _compare_classes(student, class_names(config), teacher)
    return Networks(
        student=_stages(of_student(outer_paths(student))),
        teacher=_stages(of_teacher(outer_paths(network))),
        teacher_inner=of_teacher(inner_paths(network)),
        student_inner=of_student(block_paths(student)),
        logits=logits,
        scores=scores,
        same_classes=same_classes,
        classes=classes,
    )


def _compare_classes(
    student: nn.Module, names: Sequence[str] | None, teacher: TeacherNetwork
) -> tuple[bool, dict[str, list[str]] | None]:
    """Return whether the classes are the same, and ``classes`` of a term where some are.

    Where a network's names are not known, only the numbers of classes are compared.
    """
    counts = [{h.num_classes for _, h in class_heads(n)} for n in (student, teacher.network)]
    known = (names, teacher.classes)
    if any(n is None or {len(n)} != c for n, c in zip(known, counts, strict=True)):
        return counts[0] == counts[1], None
    plain = [[plain_name(name) for name in n] for n in known]
    if plain[0] == plain[1]:
        return True, None
    if len(set(plain[0]) & set(plain[1])) < 2:  # the softmax of one class is 1
        return False, None
    return False, dict(student=list(names), teacher=list(teacher.classes))


def _stages(features: list[Feature]) -> list[Feature]:
    """Return the features of the neck, which heads use; without a neck, those of the backbone."""
    neck = [f for f in features if f.tap.startswith('neck')]
    return neck or features


def _logits_tap(network: nn.Module) -> str:
    head = network.decode_head
    return f'decode_head.{len(head) - 1}' if isinstance(head, nn.ModuleList) else 'decode_head'


def _score_taps(
    student: nn.Module,
    teacher: nn.Module,
    of_student: Callable[[Sequence[str]], list[Feature]],
    of_teacher: Callable[[Sequence[str]], list[Feature]],
) -> tuple[list[str], list[str]] | None:
    """Return the taps of the neck and of the teacher's class scores, level by level."""
    if not (hasattr(student, 'neck') and hasattr(teacher, 'neck')):
        return None
    levels = [of(['neck']) for of in (of_student, of_teacher)]
    head = 'rpn_head' if hasattr(teacher, 'rpn_head') else 'bbox_head'
    if not hasattr(teacher, head):
        return None
    # Scores of queries, which a transformer gives, do not have the size of a map.
    scores = of_teacher([f'{head}[0]'])
    fits = [f.size for f in scores] == [f.size for f in levels[1]]
    if not (fits and len(levels[0]) == len(scores) > 0):
        return None
    return [f.tap for f in levels[0]], [f.tap for f in scores]
