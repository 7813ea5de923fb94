from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.config.load import load_config
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.rng import preserve_rng_state
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError, check_integer, warn_renamed
from mmkd.openmmlab.inference import load_network
from mmkd.registry import HOOKS
from mmkd.visualization.distillation import distillation_picture
from mmkd.visualization.inspection import input_picture, inspect_image
from mmkd.visualization.prediction import prediction_picture


@HOOKS.register_module()
class DistillVisualizationHook(Hook):
    """Draw the distillation on the same validation images every ``interval`` iterations.

    A picture shows the image, the ground truth, the predictions of both networks and what every
    term compares, see ``mmkd.visualization.distillation``. It goes to the runner's visualizer and
    all its backends. ``LocalVisBackend`` writes ``vis_data/vis_image/distillation_INDEX_STEP.png``
    in the work dir's folder of this start; TensorBoard and W&B show it beside the curves.

    The hook does not affect training: the weights are equal to the bit with and without it. Runs
    that do not distil are ignored.

    Args:
        interval: Iterations between pictures; the first one is drawn before training, at step 0.
        images: Indices into the validation dataset.
        baseline: ``dict(config=..., checkpoint=...)`` of the same student trained without a
            teacher; its predictions are shown too.
        alone: Name of ``baseline`` in the previous release.

    Raises:
        UserError: ``interval`` is not positive, or ``baseline`` has other keys. Before training:
            the images or weights do not exist, or the teacher is sharded. Only the first process
            draws, and it has only a part of a sharded teacher.
    """

    # Run after the weights of this iteration are final.
    priority = 'LOWEST'

    def __init__(
        self,
        interval: int = 500,
        images: Sequence[int] = (0,),
        baseline: Mapping | None = None,
        alone: Mapping | None = None,
    ) -> None:
        if alone is not None:
            warn_renamed('DistillVisualizationHook.alone', 'baseline')
            baseline = alone
        check_integer('DistillVisualizationHook.interval', interval, least=1)
        named = isinstance(baseline, Mapping) and set(baseline) == {'config', 'checkpoint'}
        if baseline is not None and not named:
            raise UserError(
                f'DistillVisualizationHook.baseline={baseline!r}: '
                'expected dict(config=..., checkpoint=...)'
            )
        self.interval = interval
        self.images = tuple(images)
        self.baseline = baseline
        self._baseline: dict[int, np.ndarray] = {}

    def before_train(self, runner: Runner) -> None:
        distiller = unwrapped(runner.model)
        if not isinstance(distiller, Distiller):
            return
        if distiller.teacher.sharded:
            raise UserError('DistillVisualizationHook: expected a teacher with shard=False')
        if runner.val_loop is None:
            raise UserError('DistillVisualizationHook: expected val_dataloader; add one')
        count = len(runner.val_loop.dataloader.dataset)
        wrong = [index for index in self.images if not 0 <= index < count]
        if wrong:
            raise UserError(
                f'DistillVisualizationHook.images={list(self.images)}: '
                f'expected indices from 0 to {count - 1}'
            )
        if self.baseline is not None and runner.rank == 0:
            self._run_baseline(runner)
        if runner.iter == 0:
            self._draw(runner, 0)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        if self.every_n_train_iters(runner, self.interval):
            self._draw(runner, runner.iter + 1)

    @torch.no_grad()
    def _run_baseline(self, runner: Runner) -> None:
        dataset = runner.val_loop.dataloader.dataset
        with preserve_rng_state():
            try:
                network = load_network(
                    load_config(self.baseline['config']), self.baseline['checkpoint']
                )
            except UserError as error:
                raise UserError(f'DistillVisualizationHook.baseline: {error}') from None
            for index in self.images:
                item = dataset[index]
                batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
                answer = network.test_step(batch)[0]
                self._baseline[index] = prediction_picture(
                    input_picture(item), answer, dataset.metainfo
                )

    def _draw(self, runner: Runner, step: int) -> None:
        distiller = unwrapped(runner.model)
        if runner.rank != 0 or not isinstance(distiller, Distiller):
            return
        dataset = runner.val_loop.dataloader.dataset
        training = distiller.training
        with preserve_rng_state():
            distiller.eval()
            for index in self.images:
                reading = inspect_image(distiller, dataset[index])
                picture = distillation_picture(reading, dataset.metainfo, self._baseline.get(index))
                runner.visualizer.add_image(f'distillation_{index}', picture[..., ::-1], step)
            distiller.train(training)
