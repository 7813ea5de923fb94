"""Run a teacher once for all trainings of an ablation, on fixed views of every image."""

import copy
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmkd.config.checks.data import settle_worker_options
from mmkd.config.fingerprint import fingerprint
from mmkd.config.student import is_distillation, model_config
from mmkd.config.types import type_name
from mmkd.datasets.scheduled_mix_dataset import MIXING_KEYS
from mmkd.datasets.seeded_sampler import SeededIndex, seed_of_view
from mmkd.distillation.sample_batch import lend_batch
from mmkd.distillation.tap import Tap
from mmkd.distillation.teacher import Teacher
from mmkd.distillation.teacher_views import Target, TeacherViews, ViewsWriter, hash_pixels
from mmkd.engine.folder_lock import exclusive_folder
from mmkd.engine.views_origin import files_origin, unlabelled_datasets, views_origin
from mmkd.errors import UserError
from mmkd.openmmlab.preprocessing import Preprocessing, pad_batches_to
from mmkd.registry import MODELS

_VIEWS = 'teacher_views'


def views_options(config: Config, views: int) -> list[str]:
    """Return the overrides, as ``key=value``, with which a distillation reads the teacher's views.

    Args:
        config: The distillation config.
        views: Number of views of each image.

    Raises:
        UserError: The training data cannot be drawn as fixed views.
    """
    loader = config.train_dataloader
    sampler = loader.get('sampler') or {}
    if type_name(sampler.get('type')) != 'SeededInfiniteSampler':
        raise UserError(
            f'train_dataloader.sampler.type={sampler.get("type")}: expected '
            'mmkd.SeededInfiniteSampler with --teacher-views'
        )
    if not isinstance(loader.get('dataset'), Mapping):
        raise UserError(f'train_dataloader.dataset={loader.get("dataset")}: expected a dict')
    for key in MIXING_KEYS:
        if _holds(key, loader.dataset):
            raise UserError(
                f'train_dataloader.dataset.{key}: expected no mix of images with --teacher-views'
            )
    planned = copy.deepcopy(config)
    planned.train_dataloader.sampler.views = views
    return [
        f'train_dataloader.sampler.views={views}',
        'default_hooks.teacher_views.type=mmkd.TeacherViewsHook',
        f'default_hooks.teacher_views.folder=../../{_VIEWS}/{fingerprint(views_origin(planned))}',
    ]


def _holds(key: str, node: object) -> bool:
    """Return whether a config has a key, at any depth."""
    if isinstance(node, Mapping):
        return key in node or any(_holds(key, value) for value in node.values())
    return isinstance(node, list | tuple) and any(_holds(key, value) for value in node)


def make_teacher_views(
    configs: Iterable[Config], work_dir: Path, echo: Callable[[str], None]
) -> None:
    """Run the teachers of the configs that read views, on those that are not on the disk yet.

    Args:
        configs: Of trainings, with the overrides of :func:`views_options`.
        work_dir: The ablation's folder.
        echo: Prints a line.

    Raises:
        UserError: A folder holds the views of another training, a term reads what cannot be kept,
            or the pipeline does not give the same view again.
    """
    folders: dict[str, list[Config]] = {}
    for config in filter(is_distillation, configs):
        name = Path(config.default_hooks.teacher_views.folder).name
        folders.setdefault(name, []).append(config)
    for name, sharing in folders.items():
        folder = work_dir / _VIEWS / name
        with (
            exclusive_folder(folder),
            DefaultScope.overwrite_default_scope(sharing[0].get('default_scope', 'mmengine')),
        ):
            _make(folder, sharing, echo)
    torch.cuda.empty_cache()  # for the trainings


def _make(folder: Path, configs: Sequence[Config], echo: Callable[[str], None]) -> None:
    config = configs[0]
    origin = views_origin(config) | files_origin(config)
    earlier = TeacherViews(folder) if (folder / 'views.json').is_file() else None
    views = config.train_dataloader.sampler.views
    datasets = [config.train_dataloader.dataset, *unlabelled_datasets(config)]
    loaders = [_loader(config, dataset) for dataset in datasets]
    if earlier is None:
        echo(f'teacher views: reading {sum(len(x.dataset) for x in loaders)} images, {views} times')
        pixels, size = _look_at(loaders, views, config)
    else:
        earlier.check(origin)
        pixels, size = earlier.pixels, earlier.size
    preprocess = MODELS.build(_inputs(config)).to(get_device())
    pad_batches_to(size, preprocess)
    first = next(_batches(loaders, views))
    read = [_targets(one, first, preprocess) for one in configs]
    sizes = {tap: feature for _, known in read for tap, feature in known.items()}
    there = earlier.files if earlier else ()
    wanted = {t.name: t for targets, _ in read for t in targets if t.name not in there}
    if not wanted:
        echo(f'teacher views: all are in {folder}')
        return
    begin = last = time.monotonic()
    writer, row = None, 0
    passes = _passes(config, loaders, preprocess, wanted.values())
    for number, (hashes, found) in enumerate(passes):
        count = len(hashes)
        if hashes != pixels[row : row + count]:
            raise UserError(
                f'{folder} holds views of other images: expected the same; remove the folder'
                if earlier
                else 'train_dataloader.dataset.pipeline: expected the same image for the same draw '
                'with --teacher-views; put mmkd.SeedTransforms first'
            )
        writer = writer or ViewsWriter(folder, origin, pixels, size, sizes, found)
        writer.add(found)
        row += count
        # The first batch starts the workers, so the second one tells the time, if there is one.
        now = time.monotonic()
        if number == 1 or row == len(pixels) == count:
            seconds = (now - last) * len(pixels) / count
            echo(
                f'teacher views: {views} of each of {len(pixels) // views} images, '
                f'{math.ceil(writer.bytes / 1e6)} MB in {folder}, in about {_minutes(seconds)}'
            )
        last = now
    writer.finish(earlier)
    echo(f'teacher views: done in {_minutes(time.monotonic() - begin)}')


def _passes(
    config: Config, loaders: Sequence[DataLoader], preprocess: nn.Module, targets: Iterable[Target]
) -> Iterator[tuple[list[bytes], dict[str, Tensor]]]:
    """Run the teacher on all views; yield the hashes of each batch, and its targets by name."""
    given = {key: value for key, value in config.model.teacher.items() if value is not None}
    teacher = Teacher(**given, student_preprocessor=_inputs(config))
    taps = list(dict.fromkeys(target.tap for target in targets))
    teacher.fold_batch_norms(taps)
    # Move the generators, so that a pipeline that is not seeded cannot give the same views again.
    random.random(), np.random.rand(), torch.rand(())
    for batch in _batches(loaders, config.train_dataloader.sampler.views):
        hashes = [hash_pixels(image) for image in batch['inputs']]
        data = preprocess(batch, training=True)
        with torch.no_grad():
            recording = teacher.run(data['inputs'], data['data_samples'], taps, until_read=True)
            found = {target.name: target.of(recording) for target in targets}
        yield hashes, found


def _inputs(config: Config) -> dict:
    """Return the config of the student's preprocessor."""
    return model_config(config).get('data_preprocessor') or dict(type='ImgDataPreprocessor')


def _look_at(
    loaders: Sequence[DataLoader], views: int, config: Config
) -> tuple[list[bytes], tuple[int, int] | None]:
    """Return each image's hash, and the size to pad all of them to; None if they have one size."""
    pixels, sizes = [], set()
    for batch in _batches(loaders, views):
        pixels += map(hash_pixels, batch['inputs'])
        sizes |= {tuple(image.shape[-2:]) for image in batch['inputs']}
    largest = tuple(map(max, zip(*sizes, strict=True)))
    padded = Preprocessing.from_config(_inputs(config)).padded(largest)
    return pixels, None if len(sizes) == 1 else padded


def _loader(config: Config, dataset: dict) -> DataLoader:
    """Return a data loader of the training's batches, built as the training builds it."""
    own = copy.deepcopy(config)
    own.train_dataloader.dataset = copy.deepcopy(dataset)
    settle_worker_options(own)
    return Runner.build_dataloader(own.train_dataloader, seed=0)


def _targets(
    config: Config, batch: dict, preprocess: nn.Module
) -> tuple[list[Target], dict[Tap, tuple[int, int]]]:
    """Return what the terms of a config read, and the sizes of the teacher's features."""
    with lend_batch(lambda: batch):
        distiller = MODELS.build(config.model).to(get_device())
    for name, term in distiller.distill.items():
        try:
            term.check_views()
        except UserError as error:
            raise UserError(f'{config.filename}: model.distill.{name}: {error}') from None
    return distiller.view_targets(**preprocess(copy.deepcopy(batch), training=True))


def _batches(loaders: Sequence[DataLoader], views: int) -> Iterator[dict]:
    for loader in loaders:
        draws = [
            SeededIndex(index, seed_of_view(index, view), 0)
            for index in range(len(loader.dataset))
            for view in range(views)
        ]
        size = loader.batch_size
        for batch in DataLoader(
            loader.dataset,
            batch_sampler=[draws[i : i + size] for i in range(0, len(draws), size)],
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        ):
            if not isinstance(batch, Mapping) or not {'inputs', 'data_samples'} <= batch.keys():
                raise UserError(
                    'train_dataloader: expected batches of inputs and data_samples with '
                    '--teacher-views; pack them in the pipeline'
                )
            yield batch


def _minutes(seconds: float) -> str:
    return f'{math.ceil(seconds / 60)} min'
