"""Compare the classes of data with those that a network has learned."""

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log

from mmkd.config.class_names import plain_name
from mmkd.errors import UserError


def classes_of(dataset: Any) -> Sequence[str] | None:
    """Return the names of a dataset's classes, None where it has none.

    MMDetection's ``ConcatDataset`` of parts that differ states a list; the first part counts.
    """
    facts = getattr(dataset, 'metainfo', {})
    return (facts[0] if isinstance(facts, list) else facts).get('classes')


def numbers_differ(classes: Sequence[str], learned: Sequence[str]) -> bool:
    """Return whether a name that stands in both lists has another number in one of them."""
    found, known = ([plain_name(name) for name in names] for names in (classes, learned))
    return found != known and any(
        known.index(name) != i for i, name in enumerate(found) if name in known
    )


def check_class_order(
    loader: str, classes: Sequence[str] | None, learned: Sequence[str] | None, source: str
) -> None:
    """Check that data number their classes as a network has learned them.

    Names that the network has not learned are accepted, with a warning.

    Args:
        loader: The dataloader's key, for messages.
        classes: The data's classes; None if they are not known.
        learned: The network's classes; None if they are not known.
        source: Where the network's classes are stated, for messages.

    Raises:
        UserError: They are more or fewer, or a name has another number.
    """
    if classes is None or learned is None:
        return
    if list(map(plain_name, classes)) == list(map(plain_name, learned)):
        return
    key = f'{loader}.dataset.metainfo.classes={list(classes)}'
    if len(classes) != len(learned) or numbers_differ(classes, learned):
        raise UserError(
            f'{key}: expected the classes of {source} in the same order, because scores go by '
            f'class number; set metainfo.classes to {", ".join(learned)}'
        )
    text = f'{key} are scored as those of {source}, {", ".join(learned)}'
    print_log(text, 'current', level=logging.WARNING)
