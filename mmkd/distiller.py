"""The Distiller: a student that trains while terms compare it with a frozen teacher."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmkd.dry_run import blank_samples
from mmkd.errors import UserError
from mmkd.ops.gradient import input_gradient
from mmkd.registry import MODELS
from mmkd.taps import INPUT_GRADIENT, Recording, Tap, record
from mmkd.teacher import Teacher, check_teacher_keys
from mmkd.term import Term, build_term, reason

_PREFIX = 'student.'
_TERMS = 'distill.'


@MODELS.register_module()
class Distiller(BaseModel):
    """Trains ``student`` on its own loss plus distillation terms against ``teacher``.

    In validation and prediction it is the student alone. Checkpoints hold the student's
    weights under the student's own names (see ``mmkd.engine.hooks.StudentCheckpointHook``),
    and such a checkpoint, or one of the student trained alone, loads into the Distiller.

    Args:
        student: config of any MMSegmentation, MMDetection or MMEngine model.
        teacher: ``dict(config=..., checkpoint=...)``, see ``mmkd.teacher.Teacher``.
        distill: terms by name, see ``mmkd.term.Term``; a term that is None is left out.
        data_preprocessor: the student's, where a config states it beside the model.

    Raises:
        UserError: anything in the config does not fit; the message names the key.
    """

    def __init__(
        self,
        student: dict,
        teacher: dict,
        distill: Mapping[str, dict | None],
        data_preprocessor: dict | None = None,
    ) -> None:
        student = dict(student)
        if data_preprocessor is not None:
            student.setdefault('data_preprocessor', data_preprocessor)
        network = MODELS.build(student)
        super().__init__(data_preprocessor=network.data_preprocessor)
        self.student = network
        # By a seed of their own, so that the student starts from the weights that it has alone.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(torch.initial_seed() + 1)
            self.distill = self._terms(distill)
            check_teacher_keys(teacher)
            self.teacher = Teacher(**teacher, student_preprocessor=student.get('data_preprocessor'))
            self._teacher_calls = self._build_terms()
        self.not_finite: dict[str, str] = {}
        """By term, what was NaN or infinite; whoever reads it clears it."""
        self.register_load_state_dict_pre_hook(_accept_student_weights)

    @staticmethod
    def _terms(distill: Mapping[str, dict | None]) -> nn.ModuleDict:
        if not isinstance(distill, Mapping):
            raise UserError(f'model.distill={distill!r}; allowed: a dict of terms by name')
        terms = {name: build_term(name, term) for name, term in distill.items() if term is not None}
        if not terms:
            raise UserError('model.distill has no term; train the student alone by its own config')
        return nn.ModuleDict(terms)

    def forward(
        self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list | Tensor | tuple:
        """Losses in mode ``loss``; the student's own answer in every other mode."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        return self.student(inputs, data_samples, mode=mode)

    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict[str, Tensor]:
        """``student.*`` losses and one ``distill.<term>`` loss a term.

        Args:
            inputs: preprocessed images (N, 3, H, W).
            data_samples: their annotations.
        """
        terms = self._weighted_terms()
        teacher = self.read_teacher(inputs, data_samples) if terms else None
        losses, student = self.read_student(inputs, data_samples, _taps(terms, 'student_taps'))
        losses = {_PREFIX + name: value for name, value in losses.items()}
        for name, term in self.distill.items():
            if name in terms:
                labels = _labels(data_samples) if term.takes_labels else None
                if self.training and torch.is_grad_enabled():
                    with _blame(name):
                        term.check_gradient(student)
                value = term(student, teacher, labels)
                if not torch.isfinite(value):
                    compared = term.describe(student, teacher)
                    self.not_finite[name] = f'model.distill.{name} is {value.item()}: {compared}'
                losses[_TERMS + name] = term.current_weight * value
            else:
                # Every parameter has a gradient in every step, as DistributedDataParallel wants.
                zero = inputs.new_zeros(())
                losses[_TERMS + name] = sum((p.sum() * 0 for p in term.parameters()), start=zero)
        return losses

    def read_teacher(self, inputs: Tensor, data_samples: Sequence | None) -> Recording:
        """Run the teacher, without gradients, up to the last tap of a term that has a weight."""
        taps = _taps(self._weighted_terms(), 'teacher_taps')
        stop_after = {tap.path: self._teacher_calls[tap.path] for tap in taps}
        return self.teacher.read(inputs, data_samples, taps, stop_after)

    def read_student(
        self, inputs: Tensor, data_samples: Sequence, taps: list[Tap]
    ) -> tuple[dict[str, Tensor], Recording]:
        """Run the student's loss.

        Args:
            inputs: preprocessed images (N, 3, H, W).
            data_samples: their annotations.
            taps: what to record.

        Returns:
            The student's losses, and what ``taps`` recorded of the pass that gave them.
        """
        if INPUT_GRADIENT not in taps:
            with record(self.student, taps) as recording:
                return self.student(inputs, data_samples, mode='loss'), recording
        if any(isinstance(m, nn.SyncBatchNorm) for m in self.student.modules()):
            raise UserError(
                'SyncBatchNorm cannot be differentiated twice, as the tap input_gradient asks; '
                'drop sync_bn from the config'
            )
        create_graph = torch.is_grad_enabled()
        inputs = inputs.detach().requires_grad_()
        # Of PyTorch's attention kernels only the plain one has a second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            with record(self.student, taps) as recording:
                losses = self.student(inputs, data_samples, mode='loss')
            total, _ = self.student.parse_losses(losses)
            recording.add(INPUT_GRADIENT.path, input_gradient(total, inputs, create_graph))
        return losses, recording

    def _weighted_terms(self) -> dict[str, Term]:
        for name, term in self.distill.items():
            if term.current_weight is None:
                raise UserError(
                    f'model.distill.{name}.schedule needs default_hooks to hold '
                    "dict(type='mmkd.TermScheduleHook')"
                )
        return {name: term for name, term in self.distill.items() if term.current_weight > 0}

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the terms to the student's losses.

        MMEngine sums the entries whose name holds 'loss'; a term counts whatever its name.
        """
        terms = {name: value for name, value in losses.items() if name.startswith(_TERMS)}
        total, log_vars = super().parse_losses(
            {name: value for name, value in losses.items() if name not in terms}
        )
        total = total + sum(terms.values())
        log_vars.update(terms, loss=total)
        return total, log_vars

    @torch.no_grad()
    def _build_terms(self) -> dict[str, int]:
        """One pass of both networks over a small image: finds channel counts and every misfit.

        Returns:
            How often each tapped module of the teacher runs.
        """
        for name, term in self.distill.items():
            with _blame(name):
                term.resolve_taps(self.student, self.teacher.network)
                _check_input_gradient(self.student, term.student_taps)
                _check_input_gradient(self.teacher.network, term.teacher_taps)
        inputs = self.teacher.inputs
        divisor = math.lcm(inputs.student.divisor, inputs.teacher.divisor)
        side = -(-64 // divisor) * divisor
        image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        samples = blank_samples(self.teacher.network, side)
        teacher = self.teacher.read(image, samples, _taps(self.distill, 'teacher_taps'))
        self.student.eval()
        taps = _taps(self.distill, 'student_taps')
        samples = blank_samples(self.student, side)
        if samples is None:
            with record(self.student, taps) as student:
                self.student(image, mode='tensor')
        elif INPUT_GRADIENT in taps:
            student = self._differentiate_twice(image, samples, taps)
        else:
            _, student = self.read_student(image, samples, taps)
        self.student.train()
        for name, term in self.distill.items():
            with _blame(name):
                term.build(student, teacher)
        return teacher.calls()

    @torch.enable_grad()
    def _differentiate_twice(self, image: Tensor, samples: Sequence, taps: list[Tap]) -> Recording:
        with _blame(next(n for n, t in self.distill.items() if INPUT_GRADIENT in t.student_taps)):
            _, recording = self.read_student(image, samples, taps)
            # As in training: asked for the parameters alone, autograd would pass by a layer whose
            # gradient is no function that it could differentiate.
            recording.read(INPUT_GRADIENT).sum().backward()
            self.student.zero_grad()
        return recording


def _check_input_gradient(network: nn.Module, taps: Sequence[Tap]) -> None:
    if INPUT_GRADIENT in taps and blank_samples(network, 64) is None:
        raise UserError(f'tap {str(INPUT_GRADIENT)!r} needs an MMSegmentation or MMDetection model')


def _labels(data_samples: Sequence) -> Tensor | None:
    if not all('gt_sem_seg' in sample for sample in data_samples):  # boxes label no pixel
        return None
    return torch.stack([sample.gt_sem_seg.data.squeeze(0) for sample in data_samples])


def _taps(terms: Mapping[str, Term], side: str) -> list[Tap]:
    return [tap for term in terms.values() for tap in getattr(term, side)]


@contextmanager
def _blame(name: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f'model.distill.{name}: {error}') from None
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'model.distill.{name}: {reason(error)}') from error


def _accept_student_weights(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    # Files name the student's weights as the student does; in memory they sit under `student.`.
    for key in [k for k in state_dict if k.startswith(prefix)]:
        name = key[len(prefix) :]
        if not name.startswith((_PREFIX, _TERMS)):
            state_dict[f'{prefix}{_PREFIX}{name}'] = state_dict.pop(key)
