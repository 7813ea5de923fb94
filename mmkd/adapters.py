"""Adapters: trainable layers that bring the student's channels to the teacher's."""

from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.registry import MODELS


def build_adapter(config: dict, student: Tensor, teacher: Tensor) -> nn.Module:
    """Build a term's adapter for the features that its taps yield.

    Any registered layer that takes ``in_channels`` and ``out_channels`` will do, such as
    ``dict(type='Conv2d', kernel_size=1)``; both counts come from the features.

    Args:
        config: the layer without its channel counts.
        student: a student's feature (N, C_S, H, W).
        teacher: the teacher's feature (N, C_T, H', W').

    Raises:
        UserError: the config names a channel count itself.
    """
    typed_in = {'in_channels', 'out_channels'} & config.keys()
    if typed_in:
        raise UserError(
            f'adapter sets {", ".join(sorted(typed_in))}; leave it out: '
            'channel counts are read from the tapped features'
        )
    channels = dict(in_channels=student.shape[1], out_channels=teacher.shape[1])
    return MODELS.build(dict(config, _scope_='mmkd', **channels))
