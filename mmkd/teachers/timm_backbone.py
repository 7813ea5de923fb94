"""A timm backbone as a teacher without a head, whose features are ``backbone[i]``."""

import difflib
import inspect
import logging
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import timm
import torch
from timm.data import resolve_model_data_config
from timm.layers import Format
from torch import Tensor, nn

from mmkd.checkpoints.load_weights import load_weights
from mmkd.errors import UserError, one_line
from mmkd.teachers.network import TeacherNetwork

# How families with positions for one image size are told to take others.
_ANY_SIZE = dict(dynamic_img_size=True, strict_img_size=False)


class TimmFeatures(nn.Module):
    """The features of a timm network, all as (B, C, H, W).

    Args:
        model: What ``timm.create_model(..., features_only=True)`` returns.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.channels_last = getattr(model, 'output_fmt', None) == Format.NHWC

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the features of ``images`` (B, 3, H, W)."""
        features = self.model(images)
        return [x.permute(0, 3, 1, 2) for x in features] if self.channels_last else features


def build_timm_backbone(
    name: str, arguments: Mapping, state: Mapping[str, Tensor], source: str
) -> TeacherNetwork:
    """Build a timm network without its head, whose features (B, C, H, W) are ``backbone[i]``.

    Weights of the classifier are left out; all others must be there. Files in the form in which a
    model's authors published it work where timm itself converts them.

    Args:
        name: The name in timm, such as ``convnext_tiny.dinov3_lvd1689m``. Its tag, behind the
            point, decides the normalisation.
        arguments: Further arguments of ``timm.create_model``, such as ``out_indices``.
        state: The weights.
        source: Where they came from, for messages.

    Raises:
        UserError: timm does not know the name or an argument, or the weights do not fit.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f'; nearest: {", ".join(near)}' if near else ''
        raise UserError(
            f'model.teacher.timm={name}: expected a name of timm {timm.__version__}{hint}'
        )
    whole_arguments = {k: v for k, v in arguments.items() if k not in ('out_indices', 'norm')}
    with torch.device('meta'):
        kind = type(_create(name, whole_arguments))
    takes = inspect.signature(kind.__init__).parameters
    any_size = {key: value for key, value in _ANY_SIZE.items() if key in takes}
    whole = _create(name, any_size | whole_arguments)
    load_weights(whole, _timm_weights(whole, state, name, source), source, exact=True)
    features = _create(
        name,
        any_size | arguments,
        features_only=True,
        pretrained=True,
        pretrained_cfg_overlay=dict(state_dict=whole.state_dict()),
    )
    _check_same_weights(features, whole)
    data = resolve_model_data_config(whole)
    preprocessor = dict(
        type='ImgDataPreprocessor',
        mean=[255 * value for value in data['mean']],
        std=[255 * value for value in data['std']],
        bgr_to_rgb=True,
    )
    fixed = whole.pretrained_cfg.get('fixed_input_size') and not any_size
    return TeacherNetwork(
        network=nn.Sequential(OrderedDict(backbone=TimmFeatures(features))),
        preprocessor=preprocessor,
        multiple=max(features.feature_info.reduction()),
        size=tuple(data['input_size'][1:]) if fixed else None,
    )


def _create(name: str, arguments: Mapping, **options: object) -> nn.Module:
    try:
        with _quiet_timm():
            return timm.create_model(name, **arguments, **options)
    except Exception as error:  # constructors may raise anything
        raise UserError(
            f'model.teacher.timm={name} with arguments={dict(arguments)}: expected a backbone that '
            f'timm builds; it raises {type(error).__name__}: {one_line(error)}'
        ) from error


@contextmanager
def _quiet_timm() -> Iterator[None]:
    # It lists the weights that the network without its head leaves out.
    logger = logging.getLogger('timm')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _timm_weights(
    network: nn.Module, state: Mapping[str, Tensor], name: str, source: str
) -> dict[str, Tensor]:
    """Return ``state`` under timm's names, with the network's own classifier."""
    # timm's modules give this name to what converts a published file. timm has no public way to it.
    convert = getattr(sys.modules[type(network).__module__], 'checkpoint_filter_fn', None)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    if convert is not None:
        try:
            state = convert(state, network)
        except Exception as error:  # a file of another network can make it raise anything
            raise UserError(
                f'{source}: expected weights of {name}; timm cannot read them as such '
                f'({type(error).__name__}: {one_line(error)})'
            ) from error
    heads = network.pretrained_cfg.get('classifier') or ()
    heads = tuple(f'{head}.' for head in ([heads] if isinstance(heads, str) else heads))
    own = {k: v for k, v in network.state_dict().items() if k.startswith(heads)}
    return {k: v for k, v in state.items() if not k.startswith(heads)} | own


def _check_same_weights(features: nn.Module, whole: nn.Module) -> None:
    """Check that every weight of ``features`` is the one in ``whole``, under any name.

    Raises:
        UserError: timm has left a weight random.
    """
    expected = {key.replace('.', '_'): value for key, value in whole.state_dict().items()}
    for key, value in features.state_dict().items():
        found = expected.get(key.removeprefix('model.').replace('.', '_'))
        if found is None or not torch.equal(found, value):
            raise UserError(
                f'model.teacher.timm: timm {timm.__version__} does not load {key} into the '
                'backbone without its head; choose another backbone'
            )
