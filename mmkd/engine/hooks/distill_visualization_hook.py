from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.configs import load_config
from mmkd.distiller import Distiller
from mmkd.engine.randomness import random_state_kept
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.inference import load_network
from mmkd.registry import HOOKS
from mmkd.visualization.distillation import distillation_picture
from mmkd.visualization.prediction import prediction_picture
from mmkd.visualization.reading import input_picture, read_image


@HOOKS.register_module()
class DistillVisualizationHook(Hook):
    """Draws what is being distilled: the same validation images, every ``interval`` iterations.

    A picture shows the image, the truth, both networks' answers, and what every term compares, see
    ``mmkd.visualization.distillation``. It goes to the runner's visualizer, and so to each of its
    backends: ``LocalVisBackend`` writes ``vis_data/vis_image/distillation_INDEX_STEP.png`` in the
    work dir, TensorBoard's and W&B's show it beside the curves.

    Training is not touched: the weights of a run are the same, to the bit, with and without it.
    Runs that do not distil are left alone.

    Args:
        interval: iterations between pictures; the first comes before training, at step 0.
        images: indices into the validation data set.
        alone: ``dict(config=..., checkpoint=...)`` of a student that trained alone, whose answers
            then stand beside the others.

    Raises:
        UserError: ``interval`` is not positive, or ``alone`` has other keys; or, before training,
            there are no such images or weights, or the teacher is sharded: the first process alone
            draws, and it has a part of it only.
    """

    # After the weights of this iteration are final.
    priority = 'LOWEST'

    def __init__(
        self, interval: int = 500, images: Sequence[int] = (0,), alone: Mapping | None = None
    ) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise UserError(
                f'DistillVisualizationHook.interval={interval!r}; allowed: a positive integer'
            )
        named = isinstance(alone, Mapping) and set(alone) == {'config', 'checkpoint'}
        if alone is not None and not named:
            raise UserError(
                f'DistillVisualizationHook.alone={alone!r}; '
                'allowed: dict(config=..., checkpoint=...)'
            )
        self.interval = interval
        self.images = tuple(images)
        self.alone = alone
        self._alone: dict[int, np.ndarray] = {}

    def before_train(self, runner: Runner) -> None:
        distiller = unwrapped(runner.model)
        if not isinstance(distiller, Distiller):
            return
        if distiller.teacher.sharded:
            raise UserError('DistillVisualizationHook cannot draw a teacher with shard=True')
        if runner.val_loop is None:
            raise UserError('DistillVisualizationHook draws validation images; add val_dataloader')
        count = len(runner.val_loop.dataloader.dataset)
        wrong = [index for index in self.images if not 0 <= index < count]
        if wrong:
            raise UserError(
                f'DistillVisualizationHook.images={list(self.images)}; '
                f'allowed: from 0 to {count - 1}'
            )
        if self.alone is not None and runner.rank == 0:
            self._run_alone(runner)
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
    def _run_alone(self, runner: Runner) -> None:
        dataset = runner.val_loop.dataloader.dataset
        with random_state_kept():
            try:
                network = load_network(load_config(self.alone['config']), self.alone['checkpoint'])
            except UserError as error:
                raise UserError(f'DistillVisualizationHook.alone: {error}') from None
            for index in self.images:
                item = dataset[index]
                batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
                answer = network.test_step(batch)[0]
                self._alone[index] = prediction_picture(
                    input_picture(item), answer, dataset.metainfo
                )

    def _draw(self, runner: Runner, step: int) -> None:
        distiller = unwrapped(runner.model)
        if runner.rank != 0 or not isinstance(distiller, Distiller):
            return
        dataset = runner.val_loop.dataloader.dataset
        training = distiller.training
        with random_state_kept():
            distiller.eval()
            for index in self.images:
                reading = read_image(distiller, dataset[index])
                picture = distillation_picture(reading, dataset.metainfo, self._alone.get(index))
                runner.visualizer.add_image(f'distillation_{index}', picture[..., ::-1], step)
            distiller.train(training)
