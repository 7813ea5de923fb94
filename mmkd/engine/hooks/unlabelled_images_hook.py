import math

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmkd.datasets.listed_images import finds_no_image
from mmkd.distillation.distiller import Distiller
from mmkd.engine.first_batch import load_first_batch
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError, check_number, one_line
from mmkd.openmmlab.preprocessing import check_size
from mmkd.openmmlab.unlabelled import without_annotations
from mmkd.registry import HOOKS

_KEY = 'UnlabelledImagesHook.dataset'


@HOOKS.register_module()
class UnlabelledImagesHook(Hook):
    """Add images without labels to every training batch, for the distillation terms alone.

    The labelled images are those of ``train_dataloader``, the same ones with the same augmentation
    and padding as without this hook: the others may have any size. Those come from a loader with as
    many workers and a seeded, endless shuffle, so training resumes exactly. Each process draws its
    own. If the training data's sampler has ``views``, so has theirs. Annotations of the second
    dataset are removed. Runs that do not distil are left alone.

    Args:
        dataset: config of a dataset whose items MMSegmentation's or MMDetection's transforms
            packed, such as ``mmkd.ImageFolder``.
        ratio: unlabelled images for each labelled one in a batch.

    Raises:
        UserError: ``ratio`` is not a number above 0; before training, it does not make a whole
            number of images, or the dataset is empty or its first image cannot be loaded; in
            training, an image is larger than a ``size`` of the student's preprocessor.
    """

    # Before StepSeedHook: without workers, loading an image moves the generator that it seeds.
    priority = 'HIGHEST'

    def __init__(self, dataset: dict, ratio: float = 1.0) -> None:
        hint = '; set 1 for as many unlabelled images as labelled ones'
        check_number('UnlabelledImagesHook.ratio', ratio, above=0, hint=hint)
        self.ratio = ratio
        self.dataset = dataset

    def before_train(self, runner: Runner) -> None:
        if not isinstance(unwrapped(runner.model), Distiller):
            return
        labelled = runner.train_dataloader
        labelled_size = labelled.batch_size or labelled.batch_sampler.batch_size
        size = self.ratio * labelled_size
        if not math.isclose(size, round(size)) or size < 1:  # 0.28 * 25 is 7.000000000000001
            raise UserError(
                f'UnlabelledImagesHook.ratio={self.ratio}: expected a whole number of images for '
                f'train_dataloader.batch_size={labelled_size}, got {size:g}; change one of the two'
            )
        config = dict(
            dataset=self.dataset,
            batch_size=round(size),
            num_workers=labelled.num_workers,
            persistent_workers=labelled.persistent_workers and labelled.num_workers > 0,
            pin_memory=labelled.pin_memory,
            sampler=dict(
                type='mmkd.SeededInfiniteSampler', views=getattr(labelled.sampler, 'views', None)
            ),
        )
        # Draw k of the two loaders has different seeds.
        seed = int(np.random.SeedSequence([runner.seed, 1]).generate_state(1)[0])
        loader = _build(runner, config, seed)
        _check_first_image(loader)
        loader.sampler.skip(runner.iter * loader.batch_size)
        self._batches = iter(loader)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        model = unwrapped(runner.model)
        if isinstance(model, Distiller):
            batch = next(self._batches)
            check_size(batch['inputs'], model.data_preprocessor, f'{_KEY}.pipeline')
            samples = [without_annotations(sample) for sample in batch['data_samples']]
            model.unlabelled = dict(inputs=batch['inputs'], data_samples=samples)

    def after_train(self, runner: Runner) -> None:
        self._batches = None  # ends its workers


def _build(runner: Runner, config: dict, seed: int) -> DataLoader:
    try:
        loader = runner.build_dataloader(config, seed=seed)
    except ValueError as error:
        if not finds_no_image(error):
            raise
        loader = None
    if loader is None or not len(loader.dataset):
        raise UserError(
            f'{_KEY}={config["dataset"]["type"]}: expected images, but it holds none; correct its '
            'data_root and data_prefix'
        )
    return loader


def _check_first_image(loader: DataLoader) -> None:
    """Load an image, because errors in a worker are long, and the loader itself must not move."""
    try:
        batch = load_first_batch(loader, count=1, key=_KEY)
    except UserError:
        raise
    except Exception as error:  # a transform may raise anything
        reason = f'{type(error).__name__}: {one_line(error)}'
        raise UserError(
            f'{_KEY}.pipeline: expected transforms that need no labels, but loading the first '
            f'image fails ({reason}); remove LoadAnnotations and what else needs labels, or '
            'correct it'
        ) from error
    if not isinstance(batch, dict) or not {'inputs', 'data_samples'} <= batch.keys():
        raise UserError(
            f'{_KEY}.pipeline: expected PackSegInputs, or PackDetInputs for a detector, at its '
            'end; add it'
        )
