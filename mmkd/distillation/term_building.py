"""Build a distillation's terms: one pass of both networks over one batch.

The pass finds every misfit before anything trains: taps that are not there, adapters' channel
counts, features that a loss cannot compare. It leaves no trace. The student's pass runs in a copy,
in training mode, and random number generators are put back.

The batch is the training data's, where the model is built with it (``sample_batch``). Else it is
synthetic, small at first. Some networks need more pixels than that, one size only, or weights as
``init_weights`` leaves them, so a pass that fails before its taps are read is tried again.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from mmkd.distillation.gradient_share import GradientShare, check_no_checkpointing
from mmkd.distillation.recording import Recording, record
from mmkd.distillation.rng import preserve_rng_state
from mmkd.distillation.sample_batch import borrow_batch
from mmkd.distillation.student_pass import check_differentiable_twice, run_student
from mmkd.distillation.tap import INPUT_GRADIENT, Tap, find_module
from mmkd.distillation.teacher import Teacher
from mmkd.distillation.term import Term, explain_term_error
from mmkd.errors import UserError
from mmkd.openmmlab.anchors import explain_other_anchors
from mmkd.openmmlab.lean_heads import report_accuracy
from mmkd.openmmlab.passes import initialise_without_files, told_the_time
from mmkd.openmmlab.samples import stated_sizes, synthetic_batch
from mmkd.openmmlab.tasks import is_classifier, is_detector, is_segmentor, label_maps
from mmkd.ops.attention_readings import AttentionReading

# Two, because batch norm in training mode refuses one value for each channel, as pooled features
# of one image are.
_IMAGES = 2
# Heights and widths of synthetic images, in the order in which they are tried.
_SIDES = (64, 256, 512)

Batch = tuple[Tensor, Sequence | None]


@dataclass(frozen=True)
class _Trial:
    """What both networks recorded of a batch of ``images``; its label maps (B, H, W), if any."""

    student: Recording
    teacher: Recording
    images: int
    labels: Tensor | None


@dataclass(frozen=True)
class _Attempt:
    """One way to make the batch, given the student's copy that will take it."""

    make_batch: Callable[[nn.Module], Batch]
    initialise: bool


class _PassError(Exception):
    """Reports that one of the networks failed before its taps were read."""


def build_terms(terms: Mapping[str, Term], student: nn.Module, teacher: Teacher) -> dict[str, int]:
    """Resolve the terms' taps, build their adapters and try their losses once.

    Args:
        terms: By name; they change in place.
        student: The student, which does not change.
        teacher: The teacher.

    Returns:
        How often each tapped module of the teacher runs in one pass.

    Raises:
        UserError: A term does not fit the networks, or a pass fails before its taps are read.
    """
    for name, term in terms.items():
        with prefix_errors(name):
            term.resolve_taps(student, teacher.network)
            _check_anchors(term, student, teacher.network)
            term.match_classes(teacher.classes)
            if isinstance(term.weight, GradientShare):
                check_no_checkpointing(student)
            _check_input_gradient(student, term.student_taps)
            _check_input_gradient(teacher.network, term.teacher_taps)
            if INPUT_GRADIENT in term.student_taps:
                check_differentiable_twice(student)
    trial = _run_networks(terms, student, teacher)
    for name, term in terms.items():
        with prefix_errors(name):
            labels = trial.labels if term.takes_labels else None
            term.build(trial.student, trial.teacher, trial.images, labels)
    return trial.teacher.calls()


def gather_taps(terms: Mapping[str, Term], side: str) -> list[Tap]:
    """Return the taps of all terms; ``side`` is ``student_taps`` or ``teacher_taps``."""
    return [tap for term in terms.values() for tap in getattr(term, side)]


@contextmanager
def prefix_errors(name: str) -> Iterator[None]:
    """Name the term ``name`` in an error of the body."""
    try:
        yield
    except UserError as error:
        raise UserError(f'model.distill.{name}: {error}') from None
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'model.distill.{name}: {explain_term_error(error)}') from error


def _check_anchors(term: Term, student: nn.Module, teacher: nn.Module) -> None:
    if term.adapter_config is not None:  # it may map one kind of output to another
        return
    for pair in zip(term.student_taps, term.compared_taps, strict=False):
        if INPUT_GRADIENT in pair:
            continue
        modules = (
            find_module(net, tap.path) for net, tap in zip((student, teacher), pair, strict=True)
        )
        levels = tuple(tap.index[1] if len(tap.index) > 1 else None for tap in pair)
        if reason := explain_other_anchors(*modules, levels):
            raise UserError(f'tap {str(pair[0])!r}: {reason}')


def _check_input_gradient(network: nn.Module, taps: Sequence[Tap]) -> None:
    kinds = (is_segmentor, is_detector, is_classifier)
    if INPUT_GRADIENT in taps and not any(is_kind(network) for is_kind in kinds):
        raise UserError(
            f'tap {str(INPUT_GRADIENT)!r}: expected a model of MMSegmentation, MMDetection or '
            'MMPretrain'
        )


def _run_networks(terms: Mapping[str, Term], student: nn.Module, teacher: Teacher) -> _Trial:
    """Return the first attempt that reads all taps."""
    for attempt in _attempts(student, teacher):
        try:
            with preserve_rng_state(), told_the_time():
                return _run_once(attempt, terms, student, teacher)
        except _PassError as error:
            failure = error
    raise UserError(str(failure)) from failure


@contextmanager
def _name_network(key: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a network that lacks something may raise anything
        text = ' '.join(str(error).split())
        raise _PassError(
            f'{key}: the pass over one batch fails before its taps are read: '
            f'{type(error).__name__}: {text}'
        ) from error


def _attempts(student: nn.Module, teacher: Teacher) -> Iterator[_Attempt]:
    raw = borrow_batch()
    if raw is not None:
        for initialise in (False, True):
            yield _Attempt(lambda copied: _preprocess(copied, raw), initialise)
        return
    divisor = math.lcm(teacher.inputs.student.divisor, teacher.inputs.teacher.divisor)
    small, *larger = [(-(-side // divisor) * divisor,) * 2 for side in _SIDES]
    sizes = [small, *stated_sizes(student), *stated_sizes(teacher.network), *larger]
    yield _synthetic(small, initialise=False)
    for size in dict.fromkeys(sizes):
        yield _synthetic(size, initialise=True)


def _synthetic(size: tuple[int, int], initialise: bool) -> _Attempt:
    return _Attempt(lambda copied: synthetic_batch(copied, size, _IMAGES), initialise)


def _preprocess(network: nn.Module, raw: object) -> Batch:
    """Return what the network's own preprocessor makes of a data loader's batch."""
    batch = network.data_preprocessor(copy.deepcopy(raw), training=True)
    if isinstance(batch, Mapping):
        return batch['inputs'], batch.get('data_samples')
    return batch[0], batch[1]


@torch.no_grad()
def _run_once(
    attempt: _Attempt, terms: Mapping[str, Term], student: nn.Module, teacher: Teacher
) -> _Trial:
    # Its buffers, and what its loss remembers from step to step, stay as they are in the original.
    copied = revert_sync_batchnorm(_copy_network(student))
    report_accuracy(copied, False)  # nothing reads it here
    taps = gather_taps(terms, 'student_taps')
    with _name_network('model.student'):
        if attempt.initialise:
            initialise_without_files(copied)
        copied.train()
        inputs, samples = attempt.make_batch(copied)
    with _name_network('model.teacher'):
        of_teacher = _run_teacher(teacher, (inputs, samples), gather_taps(terms, 'teacher_taps'))
    with _name_network('model.student'):
        if samples is None:
            with record(copied, taps, until_read=True) as of_student:
                copied(inputs, mode='tensor')
        elif INPUT_GRADIENT in taps:
            of_student = _differentiate_twice(terms, copied, (inputs, samples), taps)
        else:
            _, of_student = run_student(copied, inputs, samples, taps, until_read=True)
    labels = None if samples is None else label_maps(samples)
    return _Trial(of_student, of_teacher, len(inputs), labels)


def _run_teacher(teacher: Teacher, batch: Batch, taps: list[Tap]) -> Recording:
    """Run the teacher, and refuse weights of it that are not finite where a tap depends on them.

    Behind the taps they may stay: a DINO of MMDetection that is saved without ``init_weights`` has
    an embedding with what the memory held.
    """
    try:
        recording = teacher.run(*batch, taps, until_read=True)
    except UserError:
        raise
    except Exception:
        teacher.check_weights()
        raise
    if not all(_is_finite(recording[tap]) for tap in taps if recording.holds([tap])):
        teacher.check_weights()
    return recording


def _is_finite(feature: Tensor | AttentionReading) -> bool:
    # A mask of attention may hold infinity, so nothing is known of attention.
    return isinstance(feature, Tensor) and bool(torch.isfinite(feature).all())


def _copy_network(network: nn.Module) -> nn.Module:
    # PyTorch copies no tensor that was computed, such as priors that a head derives from weights.
    attributes = [value for module in network.modules() for value in vars(module).values()]
    computed = [x for x in attributes if isinstance(x, Tensor) and not x.is_leaf]
    return copy.deepcopy(network, {id(x): x.detach().clone() for x in computed})


@torch.enable_grad()
def _differentiate_twice(
    terms: Mapping[str, Term], student: nn.Module, batch: Batch, taps: list[Tap]
) -> Recording:
    with prefix_errors(next(n for n, t in terms.items() if INPUT_GRADIENT in t.student_taps)):
        _, recording = run_student(student, *batch, taps)
        # Run a full backward pass as in training. If autograd computed only the gradients of
        # parameters, it would skip a layer whose gradient cannot be differentiated.
        recording[INPUT_GRADIENT].sum().backward()
    return recording
