from mmdet.datasets import BaseDetDataset

from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.datasets.street import check_street
from mmkd.errors import UserError
from mmkd.registry import DATASETS

_BOXED = ('SignSymbol', 'Car', 'Pedestrian', 'Bicyclist')
_IGNORED = 255


@DATASETS.register_module()
class StreetScenesDetection(BaseDetDataset):
    """The scenes of :class:`StreetScenes` with a box around what is visible of each object.

    Four of CamVid's classes have boxes: signs, cars, pedestrians and cyclists. The pipeline
    begins with ``mmkd.LoadStreet``, which renders the scene, and MMDetection's
    ``LoadAnnotations(with_bbox=True)``. Scenes without any object are kept.

    Args:
        split: 'train' or 'val'; the two share no scene.
        length: number of scenes, of which there are as many as one asks for.
        size: (height, width) of the images in pixels.
        **kwargs: further arguments of ``BaseDetDataset``, such as ``pipeline`` and ``metainfo``
            with some of the ``classes``.

    Raises:
        UserError: the split or a class is unknown, or the length or size not positive.
    """

    METAINFO = dict(
        classes=_BOXED, palette=[tuple(PALETTE[CLASSES.index(name)]) for name in _BOXED]
    )

    def __init__(
        self,
        split: str = 'train',
        length: int = 1000,
        size: tuple[int, int] = (240, 320),
        **kwargs,
    ) -> None:
        check_street(0, split, size)
        if length < 1:
            raise UserError(f'length={length}; allowed: 1 and above')
        self.split, self.length, self.size = split, length, tuple(size)
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        chosen = self.metainfo['classes']
        unknown = [name for name in chosen if name not in _BOXED]
        if unknown:
            raise UserError(f'metainfo.classes={chosen!r}; allowed: some of {", ".join(_BOXED)}')
        label_map = {
            label: chosen.index(name) if name in chosen else _IGNORED
            for label, name in enumerate(CLASSES)
        }
        height, width = self.size
        return [
            dict(
                street=(self.split, index),
                size=self.size,
                label_map=label_map,
                img_id=index,
                # no file: a name for messages and results
                img_path=f'{self.split}_{index:06d}.png',
                height=height,
                width=width,
            )
            for index in range(self.length)
        ]
