"""Write a small SegFormer folder in Hugging Face's form, without transformers."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

CONFIG = dict(
    architectures=['SegformerForSemanticSegmentation'], model_type='segformer',
    num_channels=3, num_encoder_blocks=4, depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 40, 64],
    num_attention_heads=[1, 2, 5, 8], patch_sizes=[7, 3, 3, 3], strides=[4, 2, 2, 2],
    sr_ratios=[8, 4, 2, 1], mlp_ratios=[4, 4, 4, 4], hidden_act='gelu', drop_path_rate=0.1,
    classifier_dropout_prob=0.1, decoder_hidden_size=32, reshape_last_stage=True,
    id2label={'0': 'road', '1': 'Side-Walk', '2': 'car'},
)  # fmt: skip


def write_folder(folder: Path, weights: dict | None = None, **changes: object) -> Path:
    """Write ``config.json``, with changed keys, and random weights (or those that are given)."""
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIG | changes
    (folder / 'config.json').write_text(json.dumps(config))
    save_file(random_weights(config) if weights is None else weights, folder / 'model.safetensors')
    return folder


def random_weights(config: dict = CONFIG) -> dict[str, torch.Tensor]:
    """Return weights by transformers' names."""
    shapes, previous, head = {}, config['num_channels'], config['decoder_hidden_size']
    for i, width in enumerate(config['hidden_sizes']):
        patch, ratio = config['patch_sizes'][i], config['sr_ratios'][i]
        at = f'segformer.encoder.patch_embeddings.{i}'
        shapes |= _layer(f'{at}.proj', width, previous, patch, patch)
        shapes |= _layer(f'{at}.layer_norm', width) | _layer(
            f'segformer.encoder.layer_norm.{i}', width
        )
        shapes |= _layer(f'decode_head.linear_c.{i}.proj', head, width)
        for j in range(config['depths'][i]):
            at, inner = f'segformer.encoder.block.{i}.{j}', config['mlp_ratios'][i] * width
            for name in ('self.query', 'self.key', 'self.value', 'output.dense'):
                shapes |= _layer(f'{at}.attention.{name}', width, width)
            if ratio > 1:
                shapes |= _layer(f'{at}.attention.self.sr', width, width, ratio, ratio)
                shapes |= _layer(f'{at}.attention.self.layer_norm', width)
            shapes |= _layer(f'{at}.layer_norm_1', width) | _layer(f'{at}.layer_norm_2', width)
            shapes |= _layer(f'{at}.mlp.dense1', inner, width)
            shapes |= _layer(f'{at}.mlp.dense2', width, inner)
            shapes |= _layer(f'{at}.mlp.dwconv.dwconv', inner, 1, 3, 3)
        previous = width
    shapes['decode_head.linear_fuse.weight'] = (head, 4 * head, 1, 1)
    shapes |= _layer('decode_head.batch_norm', head)
    shapes |= {f'decode_head.batch_norm.running_{name}': (head,) for name in ('mean', 'var')}
    shapes |= _layer('decode_head.classifier', len(config['id2label']), head, 1, 1)
    generator = torch.Generator().manual_seed(0)
    # Above zero, as a variance must be.
    return {name: torch.rand(shape, generator=generator) / 8 for name, shape in shapes.items()}


def _layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': shape, f'{name}.bias': shape[:1]}
