"""Compare student and teacher on the classes that both know, matched by name.

Shapes: ``B`` samples, ``K`` classes of one network, ``M`` classes of both.
"""

from collections.abc import Mapping, Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd.config.class_names import dataset_class_names, plain_name
from mmkd.errors import UserError


class SharedClasses(nn.Module):
    """The classes of a term that both networks know, in the student's order.

    Names match if they differ at most in case, spaces, hyphens or a final ``s``.

    Args:
        student, teacher: Names of the classes, in the order of the network's channels; or a
            registered type of dataset, whose names they are.

    Raises:
        UserError: The names are not known, one stands twice, or none is in both.
    """

    def __init__(self, student: Sequence[str] | str, teacher: Sequence[str] | str) -> None:
        super().__init__()
        self.student = _names('student', student)
        self.teacher = _names('teacher', teacher)
        pairs = sorted(_match(self.student, self.teacher).items())
        if not pairs:
            raise UserError(
                f"classes: the student's {', '.join(self.student)} match none of the teacher's "
                f'{", ".join(self.teacher)}: expected a name in both; rename classes that mean '
                'the same'
            )
        of_student, of_teacher = zip(*pairs, strict=True)
        # They are part of the config, not of a checkpoint.
        self.register_buffer('of_student', torch.tensor(of_student), persistent=False)
        self.register_buffer('of_teacher', torch.tensor(of_teacher), persistent=False)

    def report(self, term: str) -> None:
        """Log which classes the term compares, and which it leaves out."""
        compared = [self.student[i] for i in self.of_student]
        chosen = set(compared), {self.teacher[j] for j in self.of_teacher}
        student, teacher = (
            ', '.join(name for name in names if name not in known) or 'none'
            for names, known in zip((self.student, self.teacher), chosen, strict=True)
        )
        print_log(
            f'model.distill.{term}.classes: compares {len(compared)}: {", ".join(compared)}; left '
            f'out of the student: {student}; left out of the teacher: {teacher}',
            'current',
        )

    def check_channels(self, side: str, feature: Tensor) -> None:
        """Check that a feature has one channel for each class of ``side``.

        Raises:
            UserError: It does not.
        """
        names = getattr(self, side)
        if feature.ndim < 2 or feature.shape[1] != len(names):
            raise UserError(
                f'classes.{side}: {len(names)} names: expected one for each channel of the tap, '
                f'which yields shape {tuple(feature.shape)}'
            )

    def forward(self, side: str, feature: Tensor) -> Tensor:
        """Return the shared channels (B, M, ...) of ``side``'s logits (B, K, ...)."""
        return feature.index_select(1, getattr(self, f'of_{side}'))

    def ignore_others(self, labels: Tensor, ignore_index: int) -> Tensor:
        """Return labels (B, H, W) in which the classes left out are ``ignore_index``."""
        return labels.masked_fill(~torch.isin(labels, self.of_student), ignore_index)


def build_shared_classes(
    config: Mapping | None, known: Sequence[str] | None
) -> SharedClasses | None:
    """Build the ``classes`` of a term.

    Args:
        config: ``dict(student=..., teacher=...)``; None if the term has none.
        known: The names that the teacher itself states, used without ``teacher``.

    Raises:
        UserError: A key is missing or unknown, or see :class:`SharedClasses`.
    """
    if config is None:
        return None
    if not isinstance(config, Mapping) or not {'student'} <= set(config) <= {'student', 'teacher'}:
        raise UserError(f'classes={config!r}: expected dict(student=..., teacher=...)')
    teacher = config.get('teacher') or known
    if teacher is None:
        raise UserError(
            'classes.teacher: expected names, because this teacher does not state its classes'
        )
    return SharedClasses(config['student'], teacher)


def _names(side: str, value: Sequence[str] | str) -> list[str]:
    names = dataset_class_names(value) if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise UserError(
            f'classes.{side}={value!r}: expected a list of names, or a registered type of dataset '
            'that has them'
        )
    names = list(names)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f'classes.{side}: expected each name once; remove one {twice[0]}')
    return names


def _match(student: Sequence[str], teacher: Sequence[str]) -> dict[int, int]:
    """Return the teacher's index by the student's, equal names before those spelt otherwise."""
    matched: dict[int, int] = {}
    for spell in (str, plain_name):
        places = {spell(name): j for j, name in enumerate(teacher) if j not in matched.values()}
        for i, name in enumerate(student):
            if i not in matched and spell(name) in places:
                matched[i] = places.pop(spell(name))
    return matched
