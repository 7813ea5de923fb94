"""Validation images and the predictions of several runs."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from mmkd.config.checks.data import check_dataloaders
from mmkd.config.load import load_work_dir_config
from mmkd.config.student import student_config
from mmkd.experiments.run import Run
from mmkd.openmmlab.inference import load_network
from mmkd.registry import DATASETS
from mmkd.visualization.inspection import input_picture
from mmkd.visualization.prediction import prediction_picture, truth_picture


@dataclass(frozen=True)
class Scene:
    """One image: pictures (H, W, 3), BGR, uint8, by what they show."""

    input: np.ndarray
    truth: np.ndarray
    predictions: dict[str, np.ndarray]


def draw_scenes(runs: Mapping[str, Run], count: int) -> list[Scene]:
    """Run every run's network on evenly spread validation images of the first run's data.

    Args:
        runs: By name; at least one, finished, all with the same dataset.
        count: Maximum number of images.
    """
    first = next(iter(runs.values()))
    config = student_config(load_work_dir_config(first.folder))
    check_dataloaders(config, 'val_dataloader')
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        dataset = DATASETS.build(config.val_dataloader.dataset)
        count = min(count, len(dataset))
        items = [dataset[(2 * i + 1) * len(dataset) // (2 * count)] for i in range(count)]
    images = [input_picture(item) for item in items]
    answers = {name: _predict(run, items) for name, run in runs.items()}
    return [
        Scene(
            image,
            truth_picture(image, item['data_samples'], dataset.metainfo),
            {
                name: prediction_picture(image, samples[i], dataset.metainfo)
                for name, samples in answers.items()
            },
        )
        for i, (image, item) in enumerate(zip(images, items, strict=True))
    ]


def data_uri(picture: np.ndarray) -> str:
    """Return a picture as the source of an ``<img>``: labels as PNG, photographs as JPEG."""
    colours, index = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    out = io.BytesIO()
    if len(colours) > 256:
        Image.fromarray(picture[..., ::-1]).save(out, 'JPEG', quality=88)
    else:
        image = Image.fromarray(index.reshape(picture.shape[:2]).astype(np.uint8), 'P')
        image.putpalette(colours[:, ::-1].astype(np.uint8).tobytes())
        image.save(out, 'PNG', optimize=True)
    kind = 'jpeg' if len(colours) > 256 else 'png'
    return f'data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}'


@torch.no_grad()
def _predict(run: Run, items: Iterable[dict]) -> list:
    network = load_network(load_work_dir_config(run.folder), run.last_checkpoint)
    return [
        network.test_step(dict(inputs=[i['inputs']], data_samples=[i['data_samples'].clone()]))[0]
        for i in items
    ]
