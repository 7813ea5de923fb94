import os.path as osp

import cv2
from mmseg.datasets import BaseSegDataset

from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.errors import UserError
from mmkd.registry import DATASETS


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid road scenes in the SegNet layout: ``root/{train,val}`` and ``root/*annot``.

    Labels are PNGs with class ids 0 to 10; 11 (void) is ignored. Brostow, Fauqueur and
    Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009.

    Raises:
        UserError: the folder is not there, holds no image, or an image or label cannot be read.
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)
    VOID = 11

    def __init__(self, img_suffix: str = '.jpg', seg_map_suffix: str = '.png', **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_data_list(self) -> list[dict]:
        for key in ('img_path', 'seg_map_path'):
            folder = self.data_prefix.get(key)
            if folder is None or not osp.isdir(folder):
                raise UserError(
                    f'dataset.data_root={self.data_root}: folder {folder} ({key}) does not exist; '
                    'the SegNet layout of CamVid is data_root/{train,val} and data_root/*annot'
                )
        data_list = super().load_data_list()
        if not data_list:
            raise UserError(f'{self.data_prefix["img_path"]} holds no *{self.img_suffix}')
        for info in data_list:
            info['label_map'] = {self.VOID: self.ignore_index}
        return data_list

    def prepare_data(self, idx: int) -> dict:
        try:
            return super().prepare_data(idx)
        except (AssertionError, OSError, cv2.error) as error:
            info = self.get_data_info(idx)
            raise UserError(
                f'{info["img_path"]} or its label {info["seg_map_path"]} cannot be read: '
                + ' '.join(str(error).split())[:120]
            ) from error
