import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import ConfigDict
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmkd.checkpoints.load_weights import extract_state_dict
from mmkd.config.student import innermost_dataset
from mmkd.config.types import type_name
from mmkd.datasets.listed_images import check_images_exist, finds_no_image
from mmkd.datasets.scheduled_mix_dataset import warn_of_endless_mixes
from mmkd.distillation.rng import preserve_rng_state
from mmkd.distillation.sample_batch import lend_batch
from mmkd.engine.first_batch import load_first_batch
from mmkd.errors import UserError

# Those that MMEngine registers by itself; it takes None for them alone.
_MMENGINES_HOOKS = (
    'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'
)  # fmt: skip


class DistillRunner(Runner):
    """MMEngine's runner, which lends a Distiller images of the training data when it builds it.

    MMEngine builds the model before the data. A Distiller finds the channel counts of its adapters
    in a pass over a batch, and they must be there before the optimizer is. So the training data are
    built first, if a Distiller asks for a batch, and serve the training afterwards.

    MMEngine's own runner trains a Distiller as well, whose terms are then tried on noise.
    """

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        with lend_batch(self._load_batch):
            return super().build_model(model)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call all hooks. Those that get a checkpoint find its weights as ``state_dict``.

        Files of other programs name the weights ``model``, of which MMEngine loads nothing, or hold
        nothing else, which its ``EMAHook`` does not take.
        """
        checkpoint = kwargs.get('checkpoint') if fn_name == 'after_load_checkpoint' else None
        if checkpoint is not None and 'state_dict' not in checkpoint:
            weights = extract_state_dict(checkpoint, str(self.cfg.get('load_from')))
            checkpoint['state_dict'] = copy.copy(weights)
        super().call_hook(fn_name, **kwargs)

    def register_default_hooks(self, hooks: dict[str, Hook | dict | None] | None = None) -> None:
        """Register the default hooks; None leaves one out, also one that MMEngine does not have."""
        if hooks is not None:
            hooks = {k: h for k, h in hooks.items() if h is not None or k in _MMENGINES_HOOKS}
        super().register_default_hooks(hooks)

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> DataLoader:
        """Build a data loader, and check that the images that its dataset lists are there.

        A training would meet a missing file in its first pass, or in its first validation.

        Raises:
            UserError: An image is missing, or the dataset has none.
        """
        try:
            loader = Runner.build_dataloader(*args, **kwargs)
        except ValueError as error:
            if not finds_no_image(error) or not isinstance(args[0], Mapping):
                raise
            raise UserError(_explain_no_image(args[0]['dataset'])) from error
        check_images_exist(loader.dataset)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop, and warn of mixes of images that its samples are too few to end."""
        loop = super().build_train_loop(loop)
        batch_size = loop.dataloader.batch_size
        if batch_size is not None:  # None with a batch sampler of another kind
            samples = loop.max_iters * batch_size * get_world_size()
            warn_of_endless_mixes(loop.dataloader.dataset, samples)
        return loop

    def _load_batch(self) -> object:
        loader = self._train_dataloader
        if loader is None:
            raise LookupError('the config has no train_dataloader')
        if not isinstance(loader, DataLoader):
            different = self._randomness_cfg.get('diff_rank_seed', False)
            with preserve_rng_state():  # built as MMEngine's loops would build it
                loader = self.build_dataloader(loader, self.seed, different)
            self._train_dataloader = loader
        return load_first_batch(loader)


def _explain_no_image(dataset: dict) -> str:
    facts = innermost_dataset(ConfigDict(dataset))
    stated = {key: facts[key] for key in ('data_root', 'ann_file', 'filter_cfg') if facts.get(key)}
    listed = ', '.join(f'{key}={value!r}' for key, value in stated.items())
    fix = (
        'loosen filter_cfg, or correct the paths' if 'filter_cfg' in stated else 'correct the paths'
    )
    return f'dataset={type_name(facts.get("type"))}: expected images, found none in {listed}; {fix}'
