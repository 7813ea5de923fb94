from mmseg.datasets import BaseSegDataset

from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.datasets.street import check_street
from mmkd.errors import UserError
from mmkd.registry import DATASETS


@DATASETS.register_module()
class StreetScenes(BaseSegDataset):
    """Procedural street scenes with CamVid's eleven classes: nothing to download or store.

    Each scene is rendered when it is read, by the pipeline's first transform
    ``mmkd.LoadStreet``, from a generator seeded with its split and index: everywhere and at
    every size, scene 7 of ``train`` shows the same street. Sky, road and walls are large,
    poles, fences and signs thin; light, haze, blur and noise vary. Grass and hedges count as
    Tree, as CamVid's vegetation does among the eleven classes. There are no void pixels.

    Args:
        split: 'train' or 'val'; the two share no scene.
        length: number of scenes, of which there are as many as one asks for.
        size: (height, width) of the images in pixels.
        **kwargs: further arguments of ``BaseSegDataset``, such as ``pipeline`` and ``metainfo``.

    Raises:
        UserError: the split is unknown, or the length or size not positive.
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)

    def __init__(
        self,
        split: str = 'train',
        length: int = 1000,
        size: tuple[int, int] = (192, 256),
        **kwargs,
    ) -> None:
        check_street(0, split, size)
        if length < 1:
            raise UserError(f'length={length}; allowed: 1 and above')
        self.split, self.length, self.size = split, length, tuple(size)
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        return [
            dict(
                street=(self.split, index),
                size=self.size,
                # no file: a name for messages and results
                img_path=f'{self.split}_{index:06d}.png',
                label_map=self.label_map,
                reduce_zero_label=self.reduce_zero_label,
                seg_fields=[],
            )
            for index in range(self.length)
        ]
