import os.path as osp

import cv2
from mmseg.datasets import BaseSegDataset

from mmkd.errors import UserError
from mmkd.registry import DATASETS


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """MMSegmentation's images and labels in two folders, whose mistakes are named.

    Each item also says how many classes there are, as ``num_classes``, for ``mmkd.LoadLabels``.

    Raises:
        UserError: a folder is not there or holds no image, or an image or label cannot be read.
    """

    def load_data_list(self) -> list[dict]:
        for key in ('img_path', 'seg_map_path'):
            folder = self.data_prefix.get(key)
            if folder is None or not osp.isdir(folder):
                raise UserError(
                    f'dataset.data_root={self.data_root}: folder {folder} '
                    f'(data_prefix.{key}) does not exist'
                )
        data_list = super().load_data_list()
        if not data_list:
            raise UserError(
                f'{self.data_prefix["img_path"]} holds no *{self.img_suffix}, '
                "the data set's img_suffix"
            )
        for info in data_list:
            info['num_classes'] = len(self.metainfo['classes'])
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
