from mmdet.datasets import BaseDetDataset

from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.datasets.folder_dataset import order_palette
from mmkd.datasets.street_scenes.renderer import check_scenes
from mmkd.errors import UserError
from mmkd.registry import DATASETS

_BOXED = ('SignSymbol', 'Car', 'Pedestrian', 'Bicyclist')
_IGNORED = 255


@DATASETS.register_module()
class StreetScenesDet(BaseDetDataset):
    """The scenes of :class:`StreetScenes` with a box around the visible part of each object.

    Four of CamVid's classes have boxes: signs, cars, pedestrians and cyclists. The pipeline starts
    with ``mmkd.RenderStreet``, which renders the scene, and MMDetection's
    ``LoadAnnotations(with_bbox=True)``. Scenes without objects are kept.

    Args:
        split: 'train' or 'val'; they do not share a scene.
        length: Number of scenes; any number is possible.
        size: (height, width) of the images in pixels.
        **kwargs: Further arguments of ``BaseDetDataset``, such as ``pipeline`` and ``metainfo``
            with some of the ``classes``.

    Raises:
        UserError: The split or a class is unknown, or the length or size is not positive.
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
        check_scenes(split, length, size)
        kwargs['metainfo'] = order_palette(kwargs.get('metainfo'), self.METAINFO)
        self.split, self.length, self.size = split, length, tuple(size)
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        chosen = self.metainfo['classes']
        unknown = [name for name in chosen if name not in _BOXED]
        if unknown:
            raise UserError(f'metainfo.classes={chosen!r}: expected some of {", ".join(_BOXED)}')
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
                # not a file, but a name for messages and results
                img_path=f'{self.split}_{index:06d}.png',
                height=height,
                width=width,
            )
            for index in range(self.length)
        ]
