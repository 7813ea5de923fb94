"""Decide whether a teacher can be scored on its student's validation data."""

from collections.abc import Sequence

from torch import nn

from mmkd.engine.hooks.check_num_classes_hook import check_num_classes
from mmkd.errors import UserError
from mmkd.openmmlab.tasks import is_classifier, is_detector, is_segmentor, predicts


def why_not_scored(
    teacher: nn.Module, student: nn.Module, classes: Sequence[str] | None
) -> str | None:
    """Return why a teacher does not get a score on the student's data; None if it gets one.

    Args:
        teacher: The teacher's network.
        student: The student, whose task the data are for.
        classes: Those of the data, if known.
    """
    if not predicts(teacher):
        return 'it does not have a head'
    tasks = (is_segmentor, is_detector, is_classifier)
    if [is_task(teacher) for is_task in tasks] != [is_task(student) for is_task in tasks]:
        return 'its task is not the one of the student'
    try:
        check_num_classes(teacher, classes)
    except UserError as error:
        return str(error)
    return None
