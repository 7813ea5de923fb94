"""Score a teacher on its student's validation data, where it can be scored."""

from collections.abc import Sequence

from mmengine.structures import BaseDataElement
from torch import nn

from mmkd.distillation.teacher_inputs import TeacherInputs
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


def predict_as_teacher(
    network: nn.Module, inputs: TeacherInputs, batch: dict
) -> Sequence[BaseDataElement]:
    """Return a teacher's predictions of a validation batch, at its own size of the images.

    Args:
        network: The teacher's network, whose own preprocessor runs.
        inputs: What resizes the images.
        batch: As the student's data loader yields it.
    """
    if not inputs.resizes:
        return network.val_step(batch)
    data = network.data_preprocessor(batch, training=False)
    images, samples = inputs.resize(data['inputs'], data['data_samples'])
    return network(images, samples, mode='predict')
