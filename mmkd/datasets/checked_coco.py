import json
import logging
import math
from collections import Counter
from typing import Any

from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from mmkd.config.class_names import same_but_for_spelling
from mmkd.errors import UserError

_LARGEST = 1e6  # pixels; float32 holds positions of this size to a sixteenth
_IMAGE_KEYS = ('id', 'file_name', 'height', 'width')


class CheckedCOCO(COCO):
    """MMDetection's reader of COCO files, which stops at what it would misread.

    MMDetection numbers the categories that it finds, in the file's order. A class that the file
    does not have, or has twice, would therefore give its number to the next one, and classes in
    another order would change their names. Of two parts of one id it would see one. ``area`` and
    ``iscrowd``, which some tools leave out or set to 0 or null, become the box's area and 0.

    pycocotools takes an object whose annotation has the id 0 for one that was not found, and text
    for a number. Annotations with such an id are numbered anew, from 1.

    Raises:
        UserError: the file cannot be read, an image or annotation lacks what is needed or holds
            what cannot be, an id stands twice, no annotation is of a listed image, or the
            categories are not those that the config asks for, in their order.
    """

    def __init__(self, annotation_file: str | None = None) -> None:
        self.path = annotation_file
        try:
            super().__init__(annotation_file)
        except (OSError, AssertionError, UnicodeDecodeError, json.JSONDecodeError) as error:
            reason = ' '.join(str(error).split())[:120] or 'it is not a JSON object'
            raise UserError(f'annotation {annotation_file} cannot be read: {reason}') from None

    def createIndex(self) -> None:  # noqa: N802  (the name in pycocotools)
        _check_file(self.path, self.dataset)
        _number_from_one(self.dataset.get('annotations', []))
        super().createIndex()

    def get_cat_ids(
        self, cat_names: list[str] = (), sup_names: list[str] = (), cat_ids: list[int] = ()
    ) -> list[int]:
        """Return the ids of the categories that are asked for, which must fit the file's."""
        if cat_names:
            self._check_names(cat_names)
        return super().get_cat_ids(list(cat_names), list(sup_names), list(cat_ids))

    def _check_names(self, classes: list[str]) -> None:
        key = f'dataset.metainfo.classes={_shorten(classes)}'
        if isinstance(classes, str):
            raise UserError(f'{key}: expected a list of names; write [{classes!r}]')
        categories = self.dataset.get('categories') or []
        names = [category['name'] for category in categories]
        missing = [name for name in classes if name not in names]
        if missing:
            raise UserError(
                f'{key}: expected categories of {self.path}, which has '
                f'{_shorten(sorted(set(names)))}; it has no {missing[0]!r}'
                f'{_hint(missing[0], categories)}; change the classes or the file'
            )
        twice = [name for name, count in Counter(names).items() if count > 1 and name in classes]
        if twice:
            ids = [category['id'] for category in categories if category['name'] == twice[0]]
            raise UserError(
                f'{key}: expected each class to be one category of {self.path}; the categories '
                f'{", ".join(map(str, ids))} are all named {twice[0]!r}: rename or merge them'
            )
        order = [name for name in names if name in classes]
        if order != list(classes):
            raise UserError(
                f"{key}: expected the order of {self.path}'s categories, {_shorten(order)}; "
                'write the classes in this order, and each once'
            )


def _check_file(path: str, facts: dict) -> None:
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(facts.get(key, []), list):
            raise UserError(f'annotation {path}: {key}: expected a list')
    images, annotations = facts.get('images', []), facts.get('annotations', [])
    categories = facts.get('categories', [])
    if not images:
        raise UserError(f'annotation {path}: images=[]: expected at least one; mend the file')
    for i, category in enumerate(categories):
        named = isinstance(category, dict) and isinstance(category.get('name'), str)
        if not named or not _is_id(category.get('id')):
            raise UserError(f'annotation {path}: categories[{i}]: expected id and name; add them')
    for i, image in enumerate(images):
        absent = [k for k in _IMAGE_KEYS if not isinstance(image, dict) or k not in image]
        if absent:
            raise UserError(
                f'annotation {path}: images[{i}] has no {absent[0]!r}: expected '
                f'{", ".join(_IMAGE_KEYS)}; export the file again with it'
            )
        for key, (fits, expected) in _OF_IMAGES.items():
            if not fits(image[key]):
                raise UserError(
                    f'annotation {path}: images[{i}].{key}={image[key]!r}: expected {expected}; '
                    'mend the file'
                )
    _check_own_ids(path, 'categories', categories)
    _check_own_ids(path, 'images', images)
    known = {category['id'] for category in categories}
    for i, annotation in enumerate(annotations):
        reason = _find_fault(annotation, known)
        if reason:
            name = annotation.get('id', i) if isinstance(annotation, dict) else i
            raise UserError(f'annotation {path}: annotation {name}: {reason}; mend the file')
        if 'bbox' in annotation:
            _complete(annotation)
    _check_own_ids(path, 'annotations', annotations)
    _check_images_known(path, annotations, {image['id'] for image in images})


def _complete(annotation: dict) -> None:
    """Add what MMDetection needs; it drops boxes whose ``area`` is 0."""
    width, height = annotation['bbox'][2:]
    if (annotation.get('area') or 0) <= 0:
        annotation['area'] = width * height
    annotation['iscrowd'] = int(annotation.get('iscrowd') or 0)


def _number_from_one(annotations: list[dict]) -> None:
    if not all(
        type(annotation.get('id')) is int and annotation['id'] for annotation in annotations
    ):
        for number, annotation in enumerate(annotations, 1):
            annotation['id'] = number


def _check_own_ids(path: str, key: str, parts: list[dict]) -> None:
    """Check that each id stands once: a part would hide another one of the same id."""
    counts = Counter(part['id'] for part in parts if 'id' in part)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise UserError(
            f'annotation {path}: {key}: the id {twice[0]!r} occurs {counts[twice[0]]} times: '
            'expected unique ids; renumber them'
        )


def _check_images_known(path: str, annotations: list[dict], images: set) -> None:
    strays = [a.get('image_id') for a in annotations if a.get('image_id') not in images]
    if not strays:
        return
    line = (
        f'annotation {path}: {len(strays)} of {len(annotations)} annotations are of images that it '
        f'does not list, such as image_id={strays[0]!r}'
    )
    if len(strays) == len(annotations):
        known = ', '.join(map(repr, sorted(images, key=str)[:5])) or 'none'
        raise UserError(f'{line}: expected ids of its images ({known}, …); mend the file')
    print_log(f'{line}: they are left out', 'current', level=logging.WARNING)


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _is_side(value: Any) -> bool:
    return type(value) in (int, float) and 1 <= value < math.inf


_OF_IMAGES = dict(
    id=(_is_id, 'an integer'),
    file_name=(lambda value: isinstance(value, str), 'a text'),
    height=(_is_side, 'a number of pixels'),
    width=(_is_side, 'a number of pixels'),
)


def _find_fault(annotation: Any, known: set) -> str | None:
    if not isinstance(annotation, dict):
        return 'expected a dict'
    if 'caption' in annotation or 'segments_info' in annotation:
        return None  # files of captions and of panoptic segments have no boxes
    absent = [key for key in ('id', 'image_id', 'category_id', 'bbox') if key not in annotation]
    if absent:
        return f'expected {absent[0]!r}, which it does not have'
    for key in ('id', 'image_id'):
        if not _is_id(annotation[key]):
            return f'{key}={annotation[key]!r}: expected an integer'
    category = annotation['category_id']
    if not _is_id(category) or category not in known:
        return f'category_id={category!r}: expected an id of its categories'
    box = annotation['bbox']
    numbers = isinstance(box, list) and all(type(x) in (int, float) for x in box)
    if not numbers or len(box) != 4 or not all(abs(x) <= _LARGEST for x in box):
        return f'bbox={box!r}: expected x, y, width and height in pixels, up to {_LARGEST:.0f}'
    area = annotation.get('area')
    if area is not None and (type(area) not in (int, float) or not math.isfinite(area)):
        return f'area={area!r}: expected a number of pixels'
    if annotation.get('iscrowd') not in (0, 1, None):
        return f'iscrowd={annotation["iscrowd"]!r}: expected 0 or 1'
    return None


def _hint(name: str, categories: list[dict]) -> str:
    for category in categories:
        if same_but_for_spelling(name, category['name']):
            return f', but {category["name"]!r}'
    inside = [c['name'] for c in categories if c.get('supercategory') == name]
    return f', which is the supercategory of {", ".join(inside[:5])}' if inside else ''


def _shorten(names: list[str]) -> str:
    return repr(names) if isinstance(names, str) else repr(list(names)[:20])
