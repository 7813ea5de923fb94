import logging
from collections.abc import Sequence

from mmdet.datasets import MultiImageMixDataset
from mmengine.logging import print_log
from torch.utils.data import Dataset

from mmkd.datasets.seeded_sampler import SeededIndex
from mmkd.datasets.wrapped_datasets import walk_datasets
from mmkd.errors import UserError, check_integer, warn_renamed
from mmkd.registry import DATASETS

MIXING_KEYS = ('mix_until_sample', 'skip_from_draw')
"""The keys that count the samples of a mix: the name of this release, and of the previous one."""


@DATASETS.register_module()
class ScheduledMixDataset(MultiImageMixDataset):
    """MMDetection's mix of several images, which you can end before training does.

    From sample ``mix_until_sample`` of ``SeededInfiniteSampler`` on, counted over all processes,
    the transforms in ``skip_type_keys`` are left out. Mosaic images do not occur at test time, so
    it helps to end them early. MMDetection's switches count epochs and restart the data workers.
    Here the augmentation of a sample depends only on its number, so it is the same after a resume.
    Indices of other samplers do not carry a number and are always mixed.

    Args:
        skip_type_keys: Types of the transforms that end.
        mix_until_sample: Number of samples before they end: iters x batch size x processes.
        skip_from_draw: Name of ``mix_until_sample`` in the previous release.
        **kwargs: The ``dataset`` to mix and the ``pipeline`` that mixes it.

    Raises:
        UserError: The pipeline does not have a transform of such a type, or ``mix_until_sample`` is
            not an integer >= 0.
    """

    def __init__(
        self,
        skip_type_keys: Sequence[str],
        mix_until_sample: int | None = None,
        skip_from_draw: int | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        if skip_from_draw is not None:
            warn_renamed('dataset.skip_from_draw', 'mix_until_sample')
            mix_until_sample = skip_from_draw
        # This also catches a str, whose letters are not types.
        unknown = [key for key in skip_type_keys if key not in self.pipeline_types]
        if unknown:
            raise UserError(
                f'dataset.skip_type_keys={skip_type_keys!r}: expected a list of types in '
                f'dataset.pipeline: {", ".join(self.pipeline_types)}'
            )
        check_integer('dataset.mix_until_sample', mix_until_sample, least=0)
        self.late_skips = tuple(skip_type_keys)
        self.mix_until_sample = mix_until_sample

    def __getitem__(self, index: int) -> dict:
        late = isinstance(index, SeededIndex) and index.draw >= self.mix_until_sample
        self.update_skip_type_keys(self.late_skips if late else ())
        return super().__getitem__(index)


def warn_of_endless_mixes(dataset: Dataset, samples: int) -> None:
    """Log a warning for each mix in a dataset that does not end in a training of ``samples``."""
    for mix in walk_datasets(dataset):
        if isinstance(mix, ScheduledMixDataset) and mix.mix_until_sample >= samples:
            print_log(
                f'train_dataloader.dataset.mix_until_sample={mix.mix_until_sample}: '
                f'{", ".join(mix.late_skips)} will not end, because this training draws {samples} '
                'samples (iterations x batch size x processes); lower it to about 85 % of them',
                'current',
                logging.WARNING,
            )
