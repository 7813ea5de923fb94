import logging
import os.path as osp
from pathlib import Path
from xml.etree.ElementTree import ElementTree, ParseError

import cv2
from mmdet.datasets import VOCDataset
from mmengine.logging import print_log

from mmkd.config.class_names import spelt_otherwise
from mmkd.datasets.folder_dataset import check_named_once
from mmkd.errors import UserError, one_line
from mmkd.registry import DATASETS

_LARGEST = 1e6  # pixels; float32 holds positions of this size to a sixteenth


@DATASETS.register_module()
class CheckedVOCDataset(VOCDataset):
    """Boxes in the layout of PASCAL VOC: ``JPEGImages``, ``Annotations``, ``ImageSets/Main``.

    It uses MMDetection's reader and adds errors that name the file. The classes are those of PASCAL
    VOC, or ``metainfo['classes']``. Boxes without area are left out, because no anchor can be
    regressed to them. Objects of other names are left out too; a warning names those that are a
    class in another spelling. Images without boxes are kept, unless ``filter_cfg`` removes them.
    Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010.

    Raises:
        UserError: The list of images or an annotation is missing or cannot be read; a box lies
            beyond any image; no image is left; no object belongs to a class; a class stands twice,
            or is empty while an object has its name in another spelling; or an image cannot be
            read.
    """

    def load_data_list(self) -> list[dict]:
        classes = self.metainfo['classes']
        if isinstance(classes, str):
            raise UserError(
                f'dataset.metainfo.classes={classes!r}: expected a list of names, such as '
                f'[{classes!r}], or a file with one name per line'
            )
        check_named_once(classes)
        if not osp.isfile(self.ann_file):
            raise UserError(
                f'dataset.ann_file={self.ann_file} does not exist: expected a file that lists the '
                'names of the images, one per line'
            )
        # Names of all objects, because the reader leaves out those that are not a class.
        self._names = set()
        return [info for info in super().load_data_list() if info]

    def parse_data_info(self, img_info: dict) -> dict:
        if not img_info['img_id'].strip():
            return {}  # an empty line
        path = img_info['xml_path']
        try:
            info = super().parse_data_info(img_info)
        except (
            ParseError, AttributeError, TypeError, ValueError, OverflowError, LookupError, OSError
        ) as error:  # fmt: skip
            # AttributeError and TypeError: a required element is missing.
            # OverflowError: a coordinate is infinite. LookupError: an unknown encoding.
            raise UserError(f'annotation {path} cannot be read: ' + one_line(error)) from None
        for instance in info['instances']:
            if max(map(abs, instance['bbox'])) > _LARGEST:
                raise UserError(
                    f'annotation {path} cannot be read: bndbox={instance["bbox"]}: expected pixels '
                    f'up to {_LARGEST:.0f}'
                )
        # If it is missing, the reader takes the size from the image, as EXIF turns it.
        info['size_is_stated'] = '<size' in Path(path).read_text(errors='replace')
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
                f'dataset.ann_file={self.ann_file}: expected an image that '
                f'dataset.filter_cfg={self.filter_cfg} keeps, of {len(self.data_list)} listed'
            )
        return images

    def _parse_instance_info(self, raw_ann_info: ElementTree, minus_one: bool = True) -> list[dict]:
        instances = super()._parse_instance_info(raw_ann_info, minus_one)
        self._names |= {name.text or '' for name in raw_ann_info.iterfind('object/name')}
        return instances

    def _check_names(self) -> None:
        # An empty class is not an error by itself, nor is an unknown name. They are an error if no
        # class has an object, or if the two are one name in two spellings.
        classes = self.metainfo['classes']
        absent = [name for name in classes if name not in self._names]
        others = self._names.difference(classes)
        if others and (spelt_otherwise(absent, others) or len(absent) == len(classes)):
            raise UserError(
                f'dataset.metainfo.classes={list(classes)}: no object of the images in '
                f'{self.ann_file} is of {", ".join(map(repr, absent))}; it also has '
                + ', '.join(sorted(map(repr, others))[:20])
            )
        misspelt = sorted(spelt_otherwise(others, classes))
        if misspelt:
            print_log(
                f'{self.ann_file}: objects named {", ".join(map(repr, misspelt))} are left out: '
                'expected the spelling of metainfo.classes; rename them in the annotations',
                'current',
                level=logging.WARNING,
            )

    def prepare_data(self, idx: int) -> dict:
        try:
            return super().prepare_data(idx)
        except (AssertionError, OSError, cv2.error) as error:
            raise UserError(
                f'image {self.get_data_info(idx)["img_path"]} cannot be read: ' + one_line(error)
            ) from error
