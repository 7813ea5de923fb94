"""The Distiller: train a student while terms compare it with a frozen teacher."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd.distillation.gradient_share import GradientShare, measure_gradient_norms
from mmkd.distillation.recording import Recording, record
from mmkd.distillation.rng import preserve_rng_state
from mmkd.distillation.student_pass import run_student
from mmkd.distillation.tap import Tap
from mmkd.distillation.teacher import Teacher
from mmkd.distillation.teacher_views import Target, TeacherViews
from mmkd.distillation.term import Term, build_term, describe_feature
from mmkd.distillation.term_building import build_terms, gather_taps, prefix_errors
from mmkd.errors import UserError
from mmkd.openmmlab.lean import make_lean
from mmkd.openmmlab.passes import run_without_loss
from mmkd.openmmlab.tasks import label_maps
from mmkd.registry import MODELS
from mmkd.teachers import check_teacher_keys

_PREFIX = 'student.'
_TERMS = 'distill.'
_ONE_VALUE = 'Expected more than 1 value per channel'  # as PyTorch's BatchNorm raises it


@MODELS.register_module()
class Distiller(BaseModel):
    """Train ``student`` on its own loss plus distillation terms against ``teacher``.

    In validation and prediction it behaves as the student. Checkpoints hold the student's weights
    under the student's names (see ``mmkd.engine.hooks.StudentCheckpointHook``). The Distiller loads
    such checkpoints, and those of a baseline.

    Args:
        student: Config of any MMSegmentation, MMDetection, MMPretrain or MMEngine model.
        teacher: ``dict(config=..., checkpoint=...)``, see ``mmkd.distillation.teacher.Teacher``.
        distill: Terms by name, see ``mmkd.distillation.term.Term``; None removes an inherited term.
        data_preprocessor: The student's data preprocessor, if a config sets it beside the model.

    Raises:
        UserError: A part of the config does not fit; the message names the key.
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
        if 'distill' in dict(network.named_children()):
            raise UserError(
                f'model.student.type={type(network).__name__}: expected a network without a '
                'submodule named distill, the name of the terms; rename that submodule'
            )
        super().__init__(data_preprocessor=network.data_preprocessor)
        make_lean(network)
        self.student = network
        # Fork the RNG, so that the student starts from the same weights as its baseline.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(torch.initial_seed() + 1)
            self.distill = self._terms(distill)
            check_teacher_keys(teacher)
            given = {key: value for key, value in teacher.items() if value is not None}
            self.teacher = Teacher(**given, student_preprocessor=student.get('data_preprocessor'))
            self._teacher_calls = build_terms(self.distill, self.student, self.teacher)
            self.teacher.fold_batch_norms(gather_taps(self.distill, 'teacher_taps'))
        self.teacher_views: TeacherViews | None = None
        self.unlabelled: dict | None = None
        """Images without labels, not preprocessed, for the next call of :meth:`loss`."""
        self._compared: list[tuple[str, Tensor, dict[str, Tensor]]] = []
        self._nonfinite: dict[str, str] = {}
        self._checked_later = False
        self.register_load_state_dict_pre_hook(_accept_student_weights)

    @property
    def detector(self) -> nn.Module:
        """The student, by the name of MMDetection's trackers, which its YOLOXModeSwitchHook asks.

        That hook looks for ``bbox_head`` in the model itself, or in its ``detector``.
        """
        return self.student

    @staticmethod
    def _terms(distill: Mapping[str, dict | None]) -> nn.ModuleDict:
        if not isinstance(distill, Mapping):
            raise UserError(f'model.distill={distill!r}: expected a dict of terms by name')
        terms = {name: build_term(name, term) for name, term in distill.items() if term is not None}
        if not terms:
            raise UserError(
                'model.distill: expected a term; for a baseline, use the config of the student'
            )
        return nn.ModuleDict(terms)

    def forward(
        self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list | Tensor | tuple:
        """Return losses in mode ``loss``, and the student's output in every other mode."""
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        return self.student(inputs, data_samples, mode=mode)

    # torch.compile cannot trace how taps are recorded, so the training step is not compiled.
    @torch.compiler.disable
    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict[str, Tensor]:
        """Return the ``student.*`` losses and one ``distill.<term>`` loss per term.

        The images of ``unlabelled``, from ``mmkd.UnlabelledImagesHook``, count in the terms alone.
        Both networks run on them in a second pass. A term is the mean over all images of its two
        values; one that needs the task's loss, such as gradient attention transfer, leaves them
        out.

        Args:
            inputs: Preprocessed images (B, 3, H, W).
            data_samples: Their annotations.
        """
        if self._compared:  # left by an earlier batch of the same optimizer step
            self.nonfinite_terms()
        terms = self._weighted_terms()
        unlabelled, self.unlabelled = self.unlabelled, None
        teacher = self._read_teacher(inputs, data_samples, terms)
        later = self._later_terms(terms)
        taps = gather_taps(terms | later, 'student_taps')
        losses, student = self.forward_student(inputs, data_samples, taps)
        for term in later.values():
            self._check_gradient(term, student)
        values = {
            name: self._compare(term, student, teacher(term, student), data_samples)
            for name, term in terms.items()
        }
        if unlabelled is not None:
            count = len(unlabelled['inputs'])
            share = count / (len(inputs) + count)
            for name, value in self._compare_unlabelled(terms, unlabelled).items():
                values[name] = torch.lerp(values[name], value, share)
        if torch.is_grad_enabled():
            self._measure_shares(losses, values, data_samples)
        losses = {_PREFIX + name: value for name, value in losses.items()}
        for name, term in self.distill.items():
            if name in values:
                losses[_TERMS + name] = term.current_weight * values[name]
            else:
                # DistributedDataParallel needs a gradient for every parameter in every step.
                zero = inputs.new_zeros(())
                losses[_TERMS + name] = sum((p.sum() * 0 for p in term.parameters()), start=zero)
        return losses

    def _compare(
        self,
        term: Term,
        student: Recording,
        teacher: Recording | Mapping[Tap, Tensor],
        data_samples: Sequence,
    ) -> Tensor:
        self._check_gradient(term, student)
        value = term(student, teacher, label_maps(data_samples) if term.takes_labels else None)
        self._compared.append((term.name, value.detach(), term.compared(student, teacher)))
        return value

    def _later_terms(self, terms: Mapping[str, Term]) -> dict[str, Term]:
        """Return terms that do not count yet; once, so that the first step tells what is wrong."""
        later = {
            name: term
            for name, term in self.distill.items()
            if name not in terms and term.weight and not term.needs_task_loss
        }
        checks = self.training and torch.is_grad_enabled() and not self._checked_later
        self._checked_later |= checks
        return later if checks else {}

    def _check_gradient(self, term: Term, student: Recording) -> None:
        if self.training and torch.is_grad_enabled():
            with prefix_errors(term.name):
                term.check_gradient(student)

    def _compare_unlabelled(self, terms: dict[str, Term], batch: dict) -> dict[str, Tensor]:
        terms = {name: term for name, term in terms.items() if not term.needs_task_loss}
        if not terms:
            return {}
        # By themselves, so that they pad or resize no labelled image. A copy preprocesses them, as
        # one that resizes batches draws the next one's size and keeps it.
        preprocess = copy.deepcopy(self.data_preprocessor)
        with preserve_rng_state():
            batch = preprocess(batch, training=True)
        inputs, data_samples = batch['inputs'], batch['data_samples']
        teacher = self._read_teacher(inputs, data_samples, terms)
        with record(self.student, gather_taps(terms, 'student_taps')) as student:
            try:
                run_without_loss(self.student, inputs, data_samples)
            except ValueError as error:
                if _ONE_VALUE not in str(error):
                    raise
                raise UserError(
                    'UnlabelledImagesHook.ratio: expected at least two unlabelled images in a '
                    f'batch, got {len(inputs)}, because a BatchNorm of the student sees one value '
                    'per channel; raise it, or train_dataloader.batch_size'
                ) from error
        try:
            return {
                name: self._compare(term, student, teacher(term, student), data_samples)
                for name, term in terms.items()
            }
        except UserError as error:
            raise UserError(
                f'{error}; for images without labels losses and auxiliary heads do not run: tap '
                'another module, or remove mmkd.UnlabelledImagesHook'
            ) from error

    def _read_teacher(
        self, inputs: Tensor, data_samples: Sequence, terms: Mapping[str, Term]
    ) -> Callable[[Term, Recording], Recording | Mapping[Tap, Tensor]]:
        """Return what gives the teacher's side of a term, given what the student's pass recorded.

        The teacher runs in this call, unless its views are on the disk.
        """
        if self.teacher_views is None:
            recording = self.run_teacher(inputs, data_samples, terms) if terms else None
            return lambda term, student: recording
        views = self.teacher_views
        rows = [sample.teacher_view for sample in data_samples]

        def read(term: Term, student: Recording) -> Mapping[Tap, Tensor]:
            with prefix_errors(term.name):
                return views.read(term.targets(student, views.sizes), rows, inputs.device)

        return read

    @torch.no_grad()
    def view_targets(
        self, inputs: Tensor, data_samples: Sequence
    ) -> tuple[list[Target], dict[Tap, tuple[int, int]]]:
        """Return what the terms read of the teacher, and the sizes (H, W) of its features, by tap.

        Args:
            inputs: Preprocessed images (B, 3, H, W), padded as all others are, since a map has the
                smaller of two features' sizes.
            data_samples: Their annotations.
        """
        taps = gather_taps(self.distill, 'student_taps')
        _, student = self.forward_student(inputs, data_samples, taps)
        taps = gather_taps(self.distill, 'teacher_taps')
        teacher = self.teacher.run(inputs, data_samples, taps, until_read=True)
        sizes = {tap: tuple(teacher[tap].shape[-2:]) for tap in taps}
        return [t for term in self.distill.values() for t in term.targets(student, sizes)], sizes

    def _measure_shares(
        self, losses: dict[str, Tensor], values: dict[str, Tensor], data_samples: Sequence
    ) -> None:
        """Update the weights that keep a share of the task's gradient, if they measure now.

        Args:
            losses: The student's own losses.
            values: The terms, not weighted.
            data_samples: The annotations of the images.
        """
        weights = {name: self.distill[name].weight for name in values}
        due = [n for n, w in weights.items() if isinstance(w, GradientShare) and w.is_due]
        if not due:
            return
        task, _ = self.student.parse_losses(losses)
        parameters = [p for p in self.student.parameters() if p.requires_grad]
        norms = measure_gradient_norms(task, [values[name] for name in due], parameters)
        for name, (task_norm, term_norm) in zip(due, norms, strict=True):
            term = self.distill[name]
            empty = term.takes_labels and not term.counts_pixels(label_maps(data_samples))
            with prefix_errors(name):
                weights[name].update(task_norm, term_norm, empty)

    def nonfinite_terms(self) -> dict[str, str]:
        """Say, by term, what was NaN or infinite since :meth:`forget_terms` was called last.

        Terms are looked at only here: to look in every step would make a GPU's host wait.
        """
        for name, value, features in self._compared:
            if not torch.isfinite(value):
                compared = ', '.join(f'{tap} {describe_feature(x)}' for tap, x in features.items())
                self._nonfinite[name] = f'model.distill.{name} is {value.item()}: {compared}'
        self._compared.clear()
        return self._nonfinite

    def forget_terms(self) -> None:
        """Free what :meth:`nonfinite_terms` looks at, as the hook does after an optimizer step."""
        self._compared.clear()
        self._nonfinite.clear()

    def run_teacher(
        self,
        inputs: Tensor,
        data_samples: Sequence | None,
        terms: Mapping[str, Term] | None = None,
    ) -> Recording:
        """Run the teacher without gradients, up to the last tap of ``terms``.

        Args:
            inputs: The student's preprocessed images (B, 3, H, W).
            data_samples: Their annotations.
            terms: All that have a weight, if omitted.
        """
        taps = gather_taps(self._weighted_terms() if terms is None else terms, 'teacher_taps')
        stop_after = {tap.path: self._teacher_calls[tap.path] for tap in taps}
        return self.teacher.run(inputs, data_samples, taps, stop_after)

    def forward_student(
        self, inputs: Tensor, data_samples: Sequence, taps: list[Tap]
    ) -> tuple[dict[str, Tensor], Recording]:
        """Run the student's loss.

        Args:
            inputs: Preprocessed images (B, 3, H, W).
            data_samples: Their annotations.
            taps: The taps to record.

        Returns:
            The student's losses, and what ``taps`` recorded in the same pass.
        """
        return run_student(self.student, inputs, data_samples, taps)

    def as_optimized(self) -> nn.Module:
        """Return the student with the terms as one more child, ``distill``.

        Optimizer constructors get it in place of the Distiller: parameters have the names that
        they have in the student trained alone, and the terms' names begin with ``distill``. The
        modules themselves are shared.
        """
        network = copy.copy(self.student)
        network.__dict__['_modules'] = self.student._modules | dict(distill=self.distill)
        return network

    def _weighted_terms(self) -> dict[str, Term]:
        for name, term in self.distill.items():
            if term.current_weight is None:
                key = 'schedule' if term.is_scheduled else 'weight'
                raise UserError(
                    f"model.distill.{name}.{key}: expected dict(type='mmkd.LossWeightHook') in "
                    'default_hooks; add it'
                )
        return {name: term for name, term in self.distill.items() if term.is_active}

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the terms to the student's losses.

        MMEngine sums only entries whose name contains 'loss'; terms count with any name.
        """
        terms = {name: value for name, value in losses.items() if name.startswith(_TERMS)}
        total, log_vars = super().parse_losses(
            {name: value for name, value in losses.items() if name not in terms}
        )
        total = total + sum(terms.values())
        log_vars.update(terms, loss=total)
        return total, log_vars


def _accept_student_weights(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    # Files use the student's names for its weights; in memory they have the prefix `student.`. A
    # name in a file can begin with it too, where the student has a part of that name.
    own = module.student.state_dict().keys()
    for key in [k for k in state_dict if k.startswith(prefix)]:
        name = key[len(prefix) :]
        if name in own or not name.startswith((_PREFIX, _TERMS)):
            state_dict[f'{prefix}{_PREFIX}{name}'] = state_dict.pop(key)
