"""Names of classes: where a config states them, and which of them mean the same."""

import re
from collections.abc import Iterable, Mapping, Sequence

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.config.student import innermost_dataset
from mmkd.registry import DATASETS


def class_names(config: Config) -> Sequence[str] | None:
    """Return the class names of a config's data; None where nothing states them.

    They are the dataset's ``metainfo``, else those of its type. A config without data can state
    ``metainfo`` itself.
    """
    for key in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        dataset = (config.get(key) or {}).get('dataset')
        if dataset:
            dataset = innermost_dataset(dataset)
            with DefaultScope.overwrite_default_scope(config.get('default_scope')):
                return _stated(dataset) or dataset_class_names(dataset.get('type'))
    return _stated(config)


def dataset_class_names(kind: str | type | None) -> Sequence[str] | None:
    """Return the class names of a registered type of dataset; None where it has none.

    A name without a library is looked up in that of the default scope.
    """
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    return getattr(kind, 'METAINFO', {}).get('classes')


def same_but_for_spelling(name: str, other: str) -> bool:
    """Return whether two names differ in case, spaces, hyphens or a final ``s`` alone.

    Names that merely look alike, such as ``car`` and ``cat``, are two classes.
    """
    return plain_name(name) == plain_name(other)


def spelt_otherwise(absent: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return those of ``absent`` that are among ``others`` in another spelling."""
    found = {plain_name(other) for other in others}
    return [name for name in absent if plain_name(name) in found]


def plain_name(name: str) -> str:
    """Return a name without what :func:`same_but_for_spelling` ignores."""
    folded = name.casefold().strip()
    return re.sub(r'[\W_]+', '', folded).removesuffix('s') or folded


def _stated(part: Mapping) -> Sequence[str] | None:
    return (part.get('metainfo') or {}).get('classes')
