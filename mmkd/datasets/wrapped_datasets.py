"""Find the datasets that a dataset wraps."""

from collections.abc import Iterator
from typing import Any


def wrapped_datasets(dataset: Any) -> list[Any]:
    """Return the datasets that a repetition, a concatenation or another wrapper holds itself."""
    parts = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]
    return [part for part in parts if part is not None]


def walk_datasets(dataset: Any) -> Iterator[Any]:
    """Yield a dataset, then those that it wraps, at every depth."""
    yield dataset
    for part in wrapped_datasets(dataset):
        yield from walk_datasets(part)
