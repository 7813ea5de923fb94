import os.path as osp
from xml.etree.ElementTree import ParseError

import cv2
from mmdet.datasets import VOCDataset

from mmkd.errors import UserError
from mmkd.registry import DATASETS


@DATASETS.register_module()
class VOCLayoutDataset(VOCDataset):
    """Boxes in the layout of PASCAL VOC: ``JPEGImages``, ``Annotations``, ``ImageSets/Main``.

    MMDetection's reader, with errors that name the file. The classes are those of PASCAL VOC, or
    what ``metainfo`` names. Boxes without area, which no anchor can be regressed to, are left
    out; images without boxes are kept, unless ``filter_cfg`` says otherwise. Everingham et al.,
    "The PASCAL Visual Object Classes Challenge", IJCV 2010.

    Raises:
        UserError: the list of images or an annotation is missing or cannot be read, or an image
            cannot be read.
    """

    def load_data_list(self) -> list[dict]:
        if not osp.isfile(self.ann_file):
            raise UserError(
                f'dataset.ann_file={self.ann_file} does not exist; it lists the names of a VOC '
                "layout's images, one a line"
            )
        return super().load_data_list()

    def parse_data_info(self, img_info: dict) -> dict:
        path = img_info['xml_path']
        try:
            info = super().parse_data_info(img_info)
        except (
            ParseError, AttributeError, TypeError, ValueError, OverflowError, LookupError, OSError
        ) as error:  # fmt: skip
            # AttributeError and TypeError: an element that should be there is None.
            # OverflowError: a coordinate is infinite. LookupError: an unknown encoding.
            raise UserError(
                f'annotation {path} cannot be read: ' + ' '.join(str(error).split())[:120]
            ) from None
        info['instances'] = [
            instance
            for instance in info['instances']
            if instance['bbox'][0] < instance['bbox'][2]
            and instance['bbox'][1] < instance['bbox'][3]
        ]
        return info

    def prepare_data(self, idx: int) -> dict:
        try:
            return super().prepare_data(idx)
        except (AssertionError, OSError, cv2.error) as error:
            raise UserError(
                f'image {self.get_data_info(idx)["img_path"]} cannot be read: '
                + ' '.join(str(error).split())[:120]
            ) from error
