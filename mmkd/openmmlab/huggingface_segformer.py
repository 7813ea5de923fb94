"""Hugging Face's SegFormer folders as a network of MMSegmentation.

Both compute the same function. Hugging Face's head projects each stage by a linear layer without
normalisation, MMSegmentation's by a convolution with batch norm: batch norm that changes nothing
but adds the bias stands for it, so the two agree in evaluation and not in training.

Source: Xie et al., "SegFormer: Simple and Efficient Design for Semantic Segmentation with
Transformers", NeurIPS 2021 (https://arxiv.org/abs/2105.15203); the two codes, whose layers and
names were compared, are ``transformers.models.segformer`` and ``mmseg.models``.

Shapes: ``C`` channels of a stage, ``D`` channels of the head, ``K`` classes.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmkd.errors import UserError, one_line

_CLASS = 'SegformerForSemanticSegmentation'
_STAGES = 4
_IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
_UNCHANGED = dict(image_mean=[0, 0, 0], image_std=[1, 1, 1])
_EPS = 1e-5  # PyTorch's default, which both codes' batch norms and transformers' layer norms use

# Names of Hugging Face, as regular expressions, and those of MMSegmentation.
_NAMES = (
    (r'segformer\.encoder\.patch_embeddings\.(\d)\.proj', r'backbone.layers.\1.0.projection'),
    (r'segformer\.encoder\.patch_embeddings\.(\d)\.layer_norm', r'backbone.layers.\1.0.norm'),
    (r'segformer\.encoder\.layer_norm\.(\d)', r'backbone.layers.\1.2'),
    (r'segformer\.encoder\.block\.(\d)\.(\d+)\.layer_norm_(\d)', r'backbone.layers.\1.1.\2.norm\3'),
    (r'(.*)\.attention\.self\.sr', r'\1.attn.sr'),
    (r'(.*)\.attention\.self\.layer_norm', r'\1.attn.norm'),
    (r'(.*)\.attention\.output\.dense', r'\1.attn.attn.out_proj'),
    (r'(.*)\.mlp\.dense1', r'\1.ffn.layers.0'),
    (r'(.*)\.mlp\.dwconv\.dwconv', r'\1.ffn.layers.1'),
    (r'(.*)\.mlp\.dense2', r'\1.ffn.layers.4'),
    (r'segformer\.encoder\.block\.(\d)\.(\d+)\.', r'backbone.layers.\1.1.\2.'),
    (r'decode_head\.batch_norm', r'decode_head.fusion_conv.bn'),
    (r'decode_head\.linear_fuse', r'decode_head.fusion_conv.conv'),
    (r'decode_head\.classifier', r'decode_head.conv_seg'),
)


@dataclass(frozen=True)
class SegformerFolder:
    """What a folder's ``config.json`` and ``preprocessor_config.json`` say.

    Attributes:
        model: The network, as MMSegmentation's ``model``.
        classes: Names of its K classes; None where the folder only numbers them.
    """

    model: dict
    classes: list[str] | None


def load_folder(folder: str | Path) -> SegformerFolder:
    """Read a folder that ``SegformerForSemanticSegmentation.save_pretrained`` wrote.

    Without ``preprocessor_config.json``, images are normalised by ImageNet's mean and deviation, as
    Hugging Face's ``SegformerImageProcessor`` does by default.

    Raises:
        UserError: It is not such a folder, or MMSegmentation cannot express the network.
    """
    folder = Path(folder).expanduser()
    key = f'model.teacher.huggingface={folder}'
    if not (folder / 'config.json').is_file():
        raise UserError(f'{key}: expected a folder with config.json; correct the path')
    config = _read_json(folder / 'config.json')
    named = config.get('architectures')
    found = named[0] if isinstance(named, list) and named else config.get('model_type')
    if found != _CLASS:
        raise UserError(f'{key}: its architecture is {found}: expected {_CLASS}')
    try:
        return SegformerFolder(_model(config, _processor(folder), key), _classes(config))
    except KeyError as error:
        raise UserError(f'{key}: config.json: expected the key {error.args[0]!r}') from None
    except UserError:
        raise
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f'{key}: config.json or preprocessor_config.json: expected values of the types that '
            f'transformers writes ({one_line(error)}); download the files again'
        ) from None


def convert_weights(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return Hugging Face's weights under MMSegmentation's names.

    Names that are not of a SegFormer stay as they are.

    Args:
        state: The weights by Hugging Face's names.
        source: Where they came from, for messages.

    Raises:
        UserError: Weights of the head or of an attention are missing.
    """
    state = dict(state)
    converted = {}
    try:
        for prefix in [k.removesuffix('query.weight') for k in state if k.endswith('query.weight')]:
            to = re.sub(r'segformer\.encoder\.block\.(\d)\.(\d+)\..*', r'\1.1.\2', prefix)
            for part in ('weight', 'bias'):
                whole = [state.pop(f'{prefix}{name}.{part}') for name in ('query', 'key', 'value')]
                converted[f'backbone.layers.{to}.attn.attn.in_proj_{part}'] = torch.cat(whole)
        for i in range(_STAGES):
            weight, bias = (
                state.pop(f'decode_head.linear_c.{i}.proj.{part}') for part in ('weight', 'bias')
            )
            converted |= _projection(f'decode_head.convs.{i}', weight, bias)
        # Hugging Face concatenates the coarsest stage first, MMSegmentation the finest.
        fuse = state.pop('decode_head.linear_fuse.weight')
        parts = fuse.chunk(_STAGES, dim=1)
        converted['decode_head.fusion_conv.conv.weight'] = torch.cat(parts[::-1], dim=1)
    except KeyError as error:
        raise UserError(
            f'{source}: expected weights of {_CLASS}; {error.args[0]} is missing'
        ) from None
    for name, value in state.items():
        new = name
        for pattern, replacement in _NAMES:
            new = re.sub(rf'^{pattern}', replacement, new)
        # A linear layer of the feed-forward network is a 1x1 convolution there.
        is_linear = re.fullmatch(r'.*\.ffn\.layers\.[04]\.weight', new) and value.ndim == 2
        converted[new] = value[:, :, None, None] if is_linear else value
    return converted


def _projection(name: str, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Return a linear layer (D, C) as a convolution and a batch norm that adds its bias."""
    one = torch.ones_like(bias)
    return {
        f'{name}.conv.weight': weight[:, :, None, None],
        f'{name}.bn.weight': one * math.sqrt(1 + _EPS),
        f'{name}.bn.bias': bias,
        f'{name}.bn.running_mean': torch.zeros_like(bias),
        f'{name}.bn.running_var': one,
    }


def _model(config: Mapping, processor: Mapping, key: str) -> dict:
    width = config['hidden_sizes'][0] // config['num_attention_heads'][0]
    widths = [width * heads for heads in config['num_attention_heads']]
    fixed = dict(
        num_encoder_blocks=(config['num_encoder_blocks'], _STAGES),
        hidden_sizes=(list(config['hidden_sizes']), widths),
        mlp_ratios=(list(config['mlp_ratios']), [config['mlp_ratios'][0]] * _STAGES),
        hidden_act=(config['hidden_act'], 'gelu'),
        reshape_last_stage=(config.get('reshape_last_stage', True), True),
    )
    for name, (value, expected) in fixed.items():
        if value != expected:
            raise UserError(
                f'{key}: config.json: {name}={value!r}: expected {expected!r}, which '
                "MMSegmentation's SegFormer has"
            )
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            **_normalisation(processor),
            bgr_to_rgb=True,
            pad_val=0,
            seg_pad_val=255,
        ),
        backbone=dict(
            type='MixVisionTransformer',
            in_channels=config['num_channels'],
            embed_dims=width,
            num_stages=_STAGES,
            num_layers=list(config['depths']),
            num_heads=list(config['num_attention_heads']),
            patch_sizes=list(config['patch_sizes']),
            strides=list(config['strides']),
            sr_ratios=list(config['sr_ratios']),
            out_indices=(0, 1, 2, 3),
            mlp_ratio=config['mlp_ratios'][0],
            qkv_bias=True,
            drop_path_rate=config['drop_path_rate'],
            norm_cfg=dict(type='LN', eps=_EPS),
        ),
        decode_head=dict(
            type='SegformerHead',
            in_channels=list(config['hidden_sizes']),
            in_index=[0, 1, 2, 3],
            channels=config['decoder_hidden_size'],
            dropout_ratio=config['classifier_dropout_prob'],
            num_classes=len(_labels(config)),
            norm_cfg=dict(type='BN', requires_grad=True, eps=_EPS),
            act_cfg=None,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


def _normalisation(processor: Mapping) -> dict[str, list[float]]:
    """Return ``mean`` and ``std`` of values from 0 to 255."""
    given = processor if processor.get('do_normalize', True) else _UNCHANGED
    mean, std = given['image_mean'], given['image_std']
    factor = processor.get('rescale_factor', 1 / 255) if processor.get('do_rescale', True) else 1
    if not len(mean) == len(std) == 3 or not (factor > 0 and min(std) > 0):
        raise ValueError(f'image_mean={mean}, image_std={std}, rescale_factor={factor}')
    return dict(mean=[value / factor for value in mean], std=[value / factor for value in std])


def _processor(folder: Path) -> dict:
    file = folder / 'preprocessor_config.json'
    return _IMAGENET | (_read_json(file) if file.is_file() else {})


def _classes(config: Mapping) -> list[str] | None:
    names = _labels(config)
    return None if all(re.fullmatch(r'LABEL_\d+', name) for name in names) else names


def _labels(config: Mapping) -> list[str]:
    names = config.get('id2label') or {'0': 'LABEL_0', '1': 'LABEL_1'}  # transformers' default
    return [str(names[str(i)]) for i in range(len(names))]


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path}: expected JSON ({one_line(error)})') from None
    if not isinstance(content, dict):
        raise UserError(f'{path}: expected a JSON object')
    return content
