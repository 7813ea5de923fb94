from collections.abc import Sequence

from mmseg.datasets import BaseSegDataset

from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.datasets.folder_dataset import check_keeps_zero, check_known_classes, order_palette
from mmkd.datasets.street_scenes.renderer import check_scenes
from mmkd.registry import DATASETS


@DATASETS.register_module()
class StreetScenes(BaseSegDataset):
    """Procedural street scenes with CamVid's eleven classes; nothing to download or store.

    The first transform of the pipeline, ``mmkd.RenderStreet``, renders each scene when it is
    loaded. Its RNG is seeded with split and index, so scene 7 of ``train`` shows the same street on
    every machine and at every size. Sky, road and walls are large; poles, fences and signs are
    thin. Light, haze, blur and noise vary. Grass and hedges count as Tree, as in CamVid's eleven
    classes. Every pixel has a class.

    Args:
        split: 'train' or 'val'; they do not share a scene.
        length: Number of scenes; any number is possible.
        size: (height, width) of the images in pixels.
        **kwargs: Further arguments of ``BaseSegDataset``, such as ``pipeline`` and ``metainfo``.

    Raises:
        UserError: The split or a class is unknown, the length or size is not positive, or
            ``reduce_zero_label`` is set.
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)

    def __init__(
        self,
        split: str = 'train',
        length: int = 1000,
        size: tuple[int, int] = (192, 256),
        **kwargs,
    ) -> None:
        check_scenes(split, length, size)
        check_keeps_zero(kwargs.get('reduce_zero_label', False), CLASSES)
        kwargs['metainfo'] = order_palette(kwargs.get('metainfo'), self.METAINFO)
        self.split, self.length, self.size = split, length, tuple(size)
        super().__init__(**kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int] | None:
        """Return the new id of each rendered class, None where they are the same.

        Raises:
            UserError: ``new_classes`` holds a class that no scene has.
        """
        check_known_classes(new_classes, cls.METAINFO['classes'])
        return super().get_label_map(new_classes)

    def load_data_list(self) -> list[dict]:
        return [
            dict(
                street=(self.split, index),
                size=self.size,
                # not a file, but a name for messages and results
                img_path=f'{self.split}_{index:06d}.png',
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for index in range(self.length)
        ]
