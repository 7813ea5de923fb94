from collections.abc import Sequence

from mmdet.datasets import MultiImageMixDataset

from mmkd.datasets.seeded_sampler import SeededIndex
from mmkd.errors import UserError
from mmkd.registry import DATASETS


@DATASETS.register_module()
class ScheduledMixDataset(MultiImageMixDataset):
    """MMDetection's mix of several images, which ends before training does.

    From draw ``skip_from_draw`` of ``SeededInfiniteSampler`` on, over all processes, the
    transforms in ``skip_type_keys`` are left out: mosaic trains on pictures that no test will
    show. MMDetection's own switches count epochs and reload the data workers; here a draw is
    augmented the same whoever reads it and wherever the run was resumed. Indices of other samplers
    have no number and are always mixed.

    Args:
        skip_type_keys: types of the transforms that end.
        skip_from_draw: images drawn before they do: iterations x batch size x processes.
        **kwargs: the ``dataset`` that is mixed, the ``pipeline`` that mixes.

    Raises:
        UserError: the pipeline has no transform of such a type, which then would never end, or
            the draw is no whole number of at least 0: from a negative one nothing is mixed.
    """

    def __init__(
        self, skip_type_keys: Sequence[str], skip_from_draw: int, **kwargs: object
    ) -> None:
        super().__init__(**kwargs)
        # A str, too: its letters are no types.
        unknown = [key for key in skip_type_keys if key not in self.pipeline_types]
        if unknown:
            raise UserError(
                f'dataset.skip_type_keys={skip_type_keys!r}; allowed: a list of types in '
                f'dataset.pipeline, which are {", ".join(self.pipeline_types)}'
            )
        if not isinstance(skip_from_draw, int) or skip_from_draw < 0:
            raise UserError(
                f'dataset.skip_from_draw={skip_from_draw!r}; allowed: a whole number of at least 0'
            )
        self.late_skips = tuple(skip_type_keys)
        self.skip_from_draw = skip_from_draw

    def __getitem__(self, index: int) -> dict:
        late = isinstance(index, SeededIndex) and index.draw >= self.skip_from_draw
        self.update_skip_type_keys(self.late_skips if late else ())
        return super().__getitem__(index)
