import os.path as osp
from difflib import get_close_matches
from xml.etree.ElementTree import ElementTree, ParseError

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
        UserError: the list of images or an annotation is missing or cannot be read, no image is
            left, no object is of the classes, a class has none while an object's name is nearly
            its own, or an image cannot be read.
    """

    def load_data_list(self) -> list[dict]:
        classes = self.metainfo['classes']
        if isinstance(classes, str):
            raise UserError(
                f'dataset.metainfo.classes={classes!r}; allowed: a list of names, such as '
                f'[{classes!r}], or a file with one a line'
            )
        if not osp.isfile(self.ann_file):
            raise UserError(
                f'dataset.ann_file={self.ann_file} does not exist; it lists the names of a VOC '
                "layout's images, one a line"
            )
        # The names of all objects: the reader leaves out those that are not among the classes.
        self._names = set()
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

    def filter_data(self) -> list[dict]:
        self._check_names()
        images = super().filter_data()
        if not images:
            raise UserError(
                f'dataset.ann_file={self.ann_file} lists {len(self.data_list)} images, of which '
                f'dataset.filter_cfg={self.filter_cfg} leaves none'
            )
        return images

    def _parse_instance_info(self, raw_ann_info: ElementTree, minus_one: bool = True) -> list[dict]:
        instances = super()._parse_instance_info(raw_ann_info, minus_one)
        self._names |= {name.text or '' for name in raw_ann_info.iterfind('object/name')}
        return instances

    def _check_names(self) -> None:
        # A class without objects is no mistake by itself, nor is a name that nobody asked for; the
        # two are, where no class has an object or their names differ by little.
        classes = self.metainfo['classes']
        absent = [name for name in classes if name not in self._names]
        others = self._names.difference(classes)
        plain = [name.casefold() for name in others]
        alike = [name for name in absent if get_close_matches(name.casefold(), plain)]
        if others and (alike or len(absent) == len(classes)):
            raise UserError(
                f'dataset.metainfo.classes={list(classes)}: no object of the images in '
                f'{self.ann_file} is of {", ".join(map(repr, absent))}; it also has '
                + ', '.join(sorted(map(repr, others))[:20])
            )

    def prepare_data(self, idx: int) -> dict:
        try:
            return super().prepare_data(idx)
        except (AssertionError, OSError, cv2.error) as error:
            raise UserError(
                f'image {self.get_data_info(idx)["img_path"]} cannot be read: '
                + ' '.join(str(error).split())[:120]
            ) from error
