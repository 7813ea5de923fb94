"""What a source of teachers gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class TeacherNetwork:
    """A teacher's network and what must be known to feed it.

    Attributes:
        network: The network; in training mode, as its constructor leaves it.
        preprocessor: How it takes images, as a ``data_preprocessor`` config.
        classes: Names of its classes; None if nothing states them.
        multiple: Height and width that it takes are multiples of this.
        size: The only height and width that it takes; None for any.
    """

    network: nn.Module
    preprocessor: Mapping | None
    classes: Sequence[str] | None = None
    multiple: int = 1
    size: tuple[int, int] | None = None
