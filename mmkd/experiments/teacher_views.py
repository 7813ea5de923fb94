"""Run a teacher once for all trainings of an ablation, on fixed views of every image."""

import copy
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mmkd.config.checks import settle_worker_options
from mmkd.config.fingerprint import fingerprint
from mmkd.config.student import is_distillation, model_config
from mmkd.config.types import type_name
from mmkd.datasets.seeded_sampler import SeededIndex, seed_of_view
from mmkd.distillation.sample_batch import lend_batch
from mmkd.distillation.teacher import Teacher
from mmkd.distillation.teacher_views import Target, TeacherViews, ViewsWriter, hash_pixels
from mmkd.engine.first_batch import load_first_batch
from mmkd.engine.folder_lock import exclusive_folder
from mmkd.engine.views_origin import unlabelled_datasets, views_origin, weights_origin
from mmkd.errors import UserError
from mmkd.openmmlab.preprocessing import Preprocessing, pad_batches_to
from mmkd.registry import MODELS


def views_options(config: Config, views: int, work_dir: Path) -> list[str]:
    """Return the overrides, as ``key=value``, with which a distillation reads the teacher's views.

    Args:
        config: The distillation config.
        views: Number of views of each image.
        work_dir: The ablation's folder, in which the views' folder is.

    Raises:
        UserError: The training data cannot be drawn as fixed views.
    """
    loader = config.train_dataloader
    if type_name(loader.sampler.get('type')) != 'SeededInfiniteSampler':
        raise UserError(
            f'train_dataloader.sampler.type={loader.sampler.get("type")}: expected '
            'mmkd.SeededInfiniteSampler with --teacher-views'
        )
    if 'mix_until_sample' in loader.dataset:
        raise UserError(
            'train_dataloader.dataset.mix_until_sample: expected no mix of images with '
            '--teacher-views'
        )
    planned = copy.deepcopy(config)
    planned.train_dataloader.sampler.views = views
    folder = work_dir / 'teacher_views' / fingerprint(views_origin(planned))
    return [
        f'train_dataloader.sampler.views={views}',
        'default_hooks.teacher_views.type=mmkd.TeacherViewsHook',
        f'default_hooks.teacher_views.folder={folder}',
    ]


def make_teacher_views(configs: Iterable[Config], echo: Callable[[str], None]) -> None:
    """Run the teachers of the configs that read views, on those that are not on the disk yet.

    Args:
        configs: Of trainings, with the overrides of :func:`views_options`.
        echo: Prints a line.

    Raises:
        UserError: A folder holds the views of another training, a term reads what cannot be kept,
            or the pipeline does not give the same view again.
    """
    folders: dict[str, list[Config]] = {}
    for config in filter(is_distillation, configs):
        folders.setdefault(config.default_hooks.teacher_views.folder, []).append(config)
    for folder, sharing in folders.items():
        with (
            exclusive_folder(Path(folder)),
            DefaultScope.overwrite_default_scope(sharing[0].get('default_scope', 'mmengine')),
        ):
            _make(Path(folder), sharing, echo)


def _make(folder: Path, configs: Sequence[Config], echo: Callable[[str], None]) -> None:
    config = configs[0]
    origin = views_origin(config) | weights_origin(config)
    loader = _loader(config, config.train_dataloader.dataset)
    wanted = {t.name: t for one in configs for t in _targets(one, loader)}
    earlier = TeacherViews(folder) if (folder / 'views.json').is_file() else None
    if earlier is not None:
        earlier.check(origin)
        wanted = {name: t for name, t in wanted.items() if name not in earlier.files}
    if not wanted:
        echo(f'teacher views: all are in {folder}')
        return
    views = config.train_dataloader.sampler.views
    loaders = [loader, *(_loader(config, dataset) for dataset in unlabelled_datasets(config))]
    pixels, size = _look_at(_batches(loaders, views), Preprocessing.from_config(_inputs(config)))
    if earlier is not None and earlier.pixels != pixels:
        raise UserError(
            f'{folder} holds views of other images: expected the same; remove the folder'
        )
    preprocess = MODELS.build(_inputs(config)).to(get_device())
    if size is not None:
        pad_batches_to(size, preprocess)
    given = {key: value for key, value in config.model.teacher.items() if value is not None}
    teacher = Teacher(**given, student_preprocessor=_inputs(config))
    taps = list(dict.fromkeys(target.tap for target in wanted.values()))
    teacher.fold_batch_norms(taps)
    # Move the generators, so that a pipeline that is not seeded cannot give the same views again.
    random.random(), np.random.rand(), torch.rand(())
    writer, row, begin = None, 0, time.monotonic()
    for batch in _batches(loaders, views):
        count = len(batch['inputs'])
        if [hash_pixels(image) for image in batch['inputs']] != pixels[row : row + count]:
            raise UserError(
                'train_dataloader.dataset.pipeline: expected the same image for the same draw with '
                '--teacher-views; put mmkd.SeedTransforms first'
            )
        found = _read(teacher, preprocess, batch, wanted.values(), taps)
        writer = writer or ViewsWriter(folder, origin, pixels, size, found)
        writer.add(found)
        if row == 0:
            seconds = (time.monotonic() - begin) * len(pixels) / count
            echo(
                f'teacher views: {views} of each of {len(pixels) // views} images, '
                f'{math.ceil(writer.bytes / 1e6)} MB in {folder}, in about {_minutes(seconds)}'
            )
        row += count
    writer.finish(earlier and earlier.files)
    echo(f'teacher views: done in {_minutes(time.monotonic() - begin)}')


def _inputs(config: Config) -> dict:
    """Return the config of the student's preprocessor."""
    return model_config(config).get('data_preprocessor') or dict(type='ImgDataPreprocessor')


def _look_at(
    batches: Iterable[dict], preprocessing: Preprocessing
) -> tuple[list[bytes], tuple[int, int] | None]:
    """Return each image's hash, and the size to pad all of them to; None if they have one size."""
    pixels, sizes = [], set()
    for batch in batches:
        pixels += map(hash_pixels, batch['inputs'])
        sizes |= {tuple(image.shape[-2:]) for image in batch['inputs']}
    largest = tuple(map(max, zip(*sizes, strict=True)))
    return pixels, None if len(sizes) == 1 else preprocessing.padded(largest)


def _loader(config: Config, dataset: dict) -> DataLoader:
    """Return a data loader of the training's batches, built as the training builds it."""
    own = copy.deepcopy(config)
    own.train_dataloader.dataset = copy.deepcopy(dataset)
    settle_worker_options(own)
    return Runner.build_dataloader(own.train_dataloader, seed=0)


def _targets(config: Config, loader: DataLoader) -> list[Target]:
    with lend_batch(lambda: load_first_batch(loader)):
        distiller = MODELS.build(config.model)
    targets = []
    for name, term in distiller.distill.items():
        try:
            targets += term.targets()
        except UserError as error:
            where = f'{config.filename}: model.distill.{name}'
            raise UserError(f'{where}: {error}') from None
    return targets


def _batches(loaders: Sequence[DataLoader], views: int) -> Iterator[dict]:
    for loader in loaders:
        draws = [
            SeededIndex(index, seed_of_view(index, view), 0)
            for index in range(len(loader.dataset))
            for view in range(views)
        ]
        size = loader.batch_size
        yield from DataLoader(
            loader.dataset,
            batch_sampler=[draws[i : i + size] for i in range(0, len(draws), size)],
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        )


@torch.no_grad()
def _read(
    teacher: Teacher,
    preprocess: torch.nn.Module,
    batch: dict,
    targets: Iterable[Target],
    taps: Sequence,
) -> dict[str, Tensor]:
    data = preprocess(copy.deepcopy(batch), training=True)
    recording = teacher.run(data['inputs'], data['data_samples'], taps, until_read=True)
    return {target.name: target.of(recording) for target in targets}


def _minutes(seconds: float) -> str:
    return f'{math.ceil(seconds / 60)} min'
