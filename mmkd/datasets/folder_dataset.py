import logging
import os.path as osp
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import cv2
from mmengine.fileio import list_dir_or_file
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from mmkd.datasets.listed_images import missing_files
from mmkd.errors import UserError, one_line
from mmkd.registry import DATASETS

_SAME_FORMAT = {'jpeg': 'jpg', 'jpe': 'jpg', 'tif': 'tiff'}
_IMAGES = {'jpg', 'png', 'tiff', 'bmp', 'webp', 'ppm', 'gif', 'jp2'}


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """MMSegmentation's images and labels in two folders, with errors that name the file.

    ``img_suffix`` names a format, in any spelling: ``.jpg`` finds ``.JPG`` and ``.jpeg`` too.
    Images of another format are not read, and the log says so. Hidden files and folders are passed
    over. Each item also has the number of classes, ``num_classes``, for
    ``mmkd.LoadCheckedAnnotations``.

    Raises:
        UserError: A folder is missing or does not hold an image; ``metainfo`` has no classes,
            unknown ones or one twice; two images have one label; an image that ``ann_file`` lists,
            or a label that the pipeline reads, does not exist; or a file cannot be read.
    """

    def __init__(self, *args, **kwargs) -> None:
        classes = (kwargs.get('metainfo') or {}).get('classes') or self.METAINFO.get('classes')
        if not classes:
            raise UserError(
                f'dataset.metainfo.classes is missing: expected the names of the classes, in the '
                "order of the labels' ids; add metainfo=dict(classes=('road', 'car')) "
                f'to {type(self).__name__}'
            )
        if isinstance(classes, str) and not osp.isfile(classes):
            raise UserError(
                f'dataset.metainfo.classes={classes!r}: expected a list of names, such as '
                f'[{classes!r}], or a file with one name per line'
            )
        kwargs['metainfo'] = order_palette(kwargs.get('metainfo'), self.METAINFO)
        super().__init__(*args, **kwargs)
        check_named_once(self.metainfo['classes'])

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int] | None:
        """Return the new id of each id in the label files, None where they are the same.

        Raises:
            UserError: ``new_classes`` holds a class that the label files do not have.
        """
        check_known_classes(new_classes, cls.METAINFO.get('classes'))
        return super().get_label_map(new_classes)

    def load_data_list(self) -> list[dict]:
        for key in ('img_path', 'seg_map_path'):
            folder = self.data_prefix.get(key)
            if folder is None or not osp.isdir(folder):
                raise UserError(
                    f'dataset.data_root={self.data_root}: expected the folder {folder} '
                    f'(data_prefix.{key}); create it, or correct the path'
                )
        if self.ann_file and not osp.exists(self.ann_file):
            raise UserError(
                f'dataset.ann_file={self.ann_file} does not exist: expected a file with the name '
                'of an image per line'
            )
        if osp.isfile(self.ann_file):
            listed = super().load_data_list()
            blank = osp.join(self.data_prefix['img_path'], self.img_suffix)  # an empty line
            data_list = [info for info in listed if info['img_path'] != blank]
        else:
            data_list = self._list_folder()
        if not data_list:
            raise UserError(
                f'dataset.img_suffix={self.img_suffix!r}: expected images *{self.img_suffix} in '
                f'{self.data_prefix["img_path"]}; set img_suffix, or data_prefix.img_path'
            )
        self._check_files_exist(data_list)
        for info in data_list:
            info['num_classes'] = len(self.metainfo['classes'])
        return data_list

    def _check_files_exist(self, data_list: Sequence[dict]) -> None:
        # A training would meet a missing file in its first pass, or in its first validation.
        expected = {'img_path': f'ann_file={self.ann_file}: expected the images that it lists'}
        if any(hasattr(step, '_load_seg_map') for step in self.pipeline.transforms):
            folder = self.data_prefix['seg_map_path']
            line = f'data_prefix.seg_map_path={folder}: expected a label for each image'
            expected['seg_map_path'] = line
        for key, line in expected.items():
            missing = missing_files([info[key] for info in data_list])
            if missing:
                raise UserError(
                    f'dataset.{line}; {len(missing)} of {len(data_list)} do not exist, such as '
                    f'{missing[0]}: add them, or list in ann_file what is there'
                )

    def _list_folder(self) -> list[dict]:
        """List the images of all spellings of ``img_suffix``, by path."""
        folder, asked = self.data_prefix['img_path'], self.img_suffix
        files = list_dir_or_file(folder, list_dir=False, recursive=True)
        files = [file for file in files if not is_hidden(file)]
        spellings = {s for s in map(self._spelling_in, files) if s} - {asked}
        data_list = []
        for self.img_suffix in (asked, *sorted(spellings)):
            data_list += super().load_data_list()
        self.img_suffix = asked
        data_list = [i for i in data_list if not is_hidden(osp.relpath(i['img_path'], folder))]
        images = {}
        for info in data_list:
            other = images.setdefault(info['seg_map_path'], info['img_path'])
            if other != info['img_path']:
                raise UserError(
                    f'{other} and {info["img_path"]} have one label, {info["seg_map_path"]}; '
                    'expected one image for each label: remove or rename one'
                )
        self._report_other_formats(files)
        return sorted(data_list, key=lambda info: info['img_path'])

    def _spelling_in(self, file: str) -> str | None:
        """Return how the end of a file's name spells ``img_suffix``, None if it does not."""
        stem, _, extension = self.img_suffix.rpartition('.')
        found = file.rpartition('.')[2]
        suffix = file[len(file) - len(f'{stem}.{found}') :]
        same = suffix[: len(stem)].lower() == stem.lower() and '.' in file
        return suffix if same and _format(found) == _format(extension) else None

    def _report_other_formats(self, files: Sequence[str]) -> None:
        image_dir, label_dir = self.data_prefix['img_path'], self.data_prefix['seg_map_path']
        shared = osp.realpath(image_dir) == osp.realpath(label_dir)
        others = [
            file
            for file in files
            if _format(file.rpartition('.')[2]) in _IMAGES
            and not self._spelling_in(file)
            and not (shared and file.endswith(self.seg_map_suffix))
        ]
        if others:
            print_log(
                f'{image_dir}: {len(others)} images are left out, such as {others[0]}: '
                f'img_suffix={self.img_suffix!r} does not match their suffix',
                'current',
                level=logging.WARNING,
            )

    def prepare_data(self, idx: int) -> dict:
        try:
            return super().prepare_data(idx)
        except (AssertionError, OSError, cv2.error) as error:
            info = self.get_data_info(idx)
            raise UserError(
                f'{info["img_path"]} or its label {info["seg_map_path"]} cannot be read: '
                + one_line(error)
            ) from error


def is_hidden(file: str | Path) -> bool:
    """Return whether a relative path names a hidden file, or one in a hidden folder.

    Desktops and notebooks write such ones, for example ``._0.jpg`` or ``.ipynb_checkpoints``.
    """
    return any(part.startswith('.') and part != '..' for part in Path(file).parts)


def check_known_classes(chosen: Sequence[str] | None, known: Sequence[str] | None) -> None:
    """Check the classes that a config chooses from those that a dataset's labels have.

    Raises:
        UserError: one is unknown, or is chosen twice.
    """
    if chosen is None or known is None:
        return
    unknown = [name for name in chosen if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f'; did you mean {near[0]!r}?' if near else ''
        raise UserError(
            f'dataset.metainfo.classes={list(chosen)}: expected some of {", ".join(known)}; '
            f'remove {unknown[0]!r}{hint}'
        )
    check_named_once(chosen)


def check_named_once(classes: Sequence[str]) -> None:
    """Check that no class stands twice.

    Raises:
        UserError: One does.
    """
    twice = [name for i, name in enumerate(classes) if name in classes[:i]]
    if twice:
        raise UserError(
            f'dataset.metainfo.classes={list(classes)}: expected each class once; '
            f'remove one {twice[0]!r}'
        )


def order_palette(metainfo: dict | None, known: dict) -> dict | None:
    """Return ``metainfo`` with the colours of its classes, if it names classes in another order.

    MMSegmentation gives a subset of the classes their colours, but leaves those of all classes in
    the dataset's own order.

    Args:
        metainfo: What a config says of the dataset.
        known: The dataset's own ``METAINFO``.
    """
    classes = (metainfo or {}).get('classes')
    colours = dict(zip(known.get('classes', ()), known.get('palette', ()), strict=False))
    if not classes or 'palette' in metainfo or not set(classes) <= colours.keys():
        return metainfo
    return dict(metainfo, palette=[colours[name] for name in classes])


def check_keeps_zero(reduce_zero_label: bool, classes: Sequence[str]) -> None:
    """Check that a dataset without a background class is not asked to drop its class 0.

    Raises:
        UserError: It is; the message says how to leave a class out.
    """
    if reduce_zero_label:
        raise UserError(
            f'dataset.reduce_zero_label=True: expected False, because class 0 is {classes[0]}; to '
            'leave a class out, name the others in metainfo.classes'
        )


def _format(extension: str) -> str:
    extension = extension.lower()
    return _SAME_FORMAT.get(extension, extension)
