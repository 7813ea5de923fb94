"""The five sizes of YOLO11: how deep, how wide, and with which block."""

from dataclasses import dataclass

from mmkd.errors import UserError


@dataclass(frozen=True)
class Scale:
    """How one size derives from the common plan.

    Attributes:
        depth: factor of a stage's number of blocks.
        width: factor of a layer's channels.
        max_channels: the plan's channels are cut to this before ``width`` applies.
        deep_blocks: whether every C3k2 holds C3k blocks, not only those at stride 16 and 32 of
            the backbone and the neck's last.
    """

    depth: float
    width: float
    max_channels: int
    deep_blocks: bool

    def channels(self, planned: int) -> int:
        """The channels of a layer that the plan gives ``planned``."""
        return int(min(planned, self.max_channels) * self.width)

    def repeats(self, planned: int) -> int:
        """The blocks of a stage that the plan gives ``planned``."""
        return round(planned * self.depth)


SCALES = {
    'n': Scale(depth=0.50, width=0.25, max_channels=1024, deep_blocks=False),
    's': Scale(depth=0.50, width=0.50, max_channels=1024, deep_blocks=False),
    'm': Scale(depth=0.50, width=1.00, max_channels=512, deep_blocks=True),
    'l': Scale(depth=1.00, width=1.00, max_channels=512, deep_blocks=True),
    'x': Scale(depth=1.00, width=1.50, max_channels=512, deep_blocks=True),
}


def find_scale(name: str) -> Scale:
    """The scale called ``name``.

    Raises:
        UserError: there is none.
    """
    if name not in SCALES:
        raise UserError(f'scale={name!r} is no size of YOLO11; allowed: {", ".join(SCALES)}')
    return SCALES[name]
