"""The five sizes of YOLO11: depth, width and type of block."""

from dataclasses import dataclass

from mmkd.errors import UserError


@dataclass(frozen=True)
class Scale:
    """The factors that derive one size from the common plan.

    Attributes:
        depth: Factor of the number of blocks of a stage.
        width: Factor of the channels of a layer.
        max_channels: Upper bound on the plan's channels, applied before ``width``.
        deep_blocks: Whether every C3k2 has C3k blocks, not only those at strides 16 and 32 of the
            backbone and the last one of the neck.
    """

    depth: float
    width: float
    max_channels: int
    deep_blocks: bool

    def channels(self, planned: int) -> int:
        """Return the channels of a layer with ``planned`` channels in the plan."""
        return int(min(planned, self.max_channels) * self.width)

    def repeats(self, planned: int) -> int:
        """Return the blocks of a stage with ``planned`` blocks in the plan."""
        return round(planned * self.depth)


SCALES = {
    'n': Scale(depth=0.50, width=0.25, max_channels=1024, deep_blocks=False),
    's': Scale(depth=0.50, width=0.50, max_channels=1024, deep_blocks=False),
    'm': Scale(depth=0.50, width=1.00, max_channels=512, deep_blocks=True),
    'l': Scale(depth=1.00, width=1.00, max_channels=512, deep_blocks=True),
    'x': Scale(depth=1.00, width=1.50, max_channels=512, deep_blocks=True),
}


def find_scale(name: str) -> Scale:
    """Return the scale called ``name``.

    Raises:
        UserError: A scale of that name does not exist.
    """
    if not isinstance(name, str) or name not in SCALES:
        raise UserError(f'scale={name!r}: expected a size of YOLO11: {", ".join(SCALES)}')
    return SCALES[name]
