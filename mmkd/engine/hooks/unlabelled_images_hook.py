import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.distillation.distiller import Distiller
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError, check_number
from mmkd.openmmlab.unlabelled import without_annotations
from mmkd.registry import HOOKS


@HOOKS.register_module()
class UnlabelledImagesHook(Hook):
    """Add images without labels to every training batch, for the distillation terms alone.

    The labelled images are those of ``train_dataloader``, the same ones with the same augmentation
    as without this hook. The others come from a loader with as many workers and a seeded, endless
    shuffle, so training resumes exactly. Each process draws its own. If the training data's sampler
    has ``views``, so has theirs. Annotations of the second dataset are removed. Runs that do not
    distil are left alone.

    Args:
        dataset: config of a dataset whose items MMSegmentation's or MMDetection's transforms
            packed, such as ``mmkd.ImageFolder``.
        ratio: unlabelled images for each labelled one in a batch.

    Raises:
        UserError: ``ratio`` is not a number above 0; or, before training, it does not make a whole
            number of images.
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
        if size != round(size) or size < 1:
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
        loader = runner.build_dataloader(config, seed=seed)
        loader.sampler.skip(runner.iter * loader.batch_size)
        self._batches = iter(loader)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        if isinstance(unwrapped(runner.model), Distiller):
            batch = next(self._batches)
            data_batch['inputs'] += batch['inputs']
            data_batch['data_samples'] += map(without_annotations, batch['data_samples'])

    def after_train(self, runner: Runner) -> None:
        self._batches = None  # ends its workers
