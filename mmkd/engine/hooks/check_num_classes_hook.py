from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmkd.datasets.class_occurrence import report_absent_classes
from mmkd.datasets.class_order import check_class_order, classes_of, numbers_differ
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.tap import INPUT_GRADIENT
from mmkd.distillation.term import Term
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.losses import CWDLoss, FeatureMSELoss, FRSHeadLoss, LogitKDLoss, PKDLoss
from mmkd.openmmlab.tasks import class_heads
from mmkd.registry import HOOKS


@HOOKS.register_module()
class CheckNumClassesHook(Hook):
    """Stop before training if a head's ``num_classes`` is not the dataset's number of classes.

    It checks every head of a segmentor or detector, also auxiliary ones, except region proposal
    networks, whose only class is "object". It also warns of classes that no training label has.
    """

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        dataset = runner.train_dataloader.dataset
        classes = classes_of(dataset)
        check_num_classes(model, classes)
        if runner.val_loop is not None:
            validated = classes_of(runner.val_dataloader.dataset)
            check_class_order('val_dataloader', validated, classes, 'train_dataloader')
        if runner.iter == 0:
            report_absent_classes(dataset)


def check_num_classes(model: nn.Module, classes: Sequence[str] | None) -> None:
    """Compare the heads of a model, or of a Distiller's student, with a dataset's classes.

    A Distiller's teacher is also checked if the tap ``input_gradient`` uses its loss, or if a term
    compares class scores.

    Raises:
        UserError: A head has another number of classes, or the teacher has them in another order.
    """
    networks = dict(model=model)
    if isinstance(model, Distiller):
        networks = {'model.student': model.student}
        if any(INPUT_GRADIENT in term.teacher_taps for term in model.distill.values()):
            networks['model.teacher'] = model.teacher.network
        _check_compared_scores(model, classes)
    for key, network in networks.items():
        for name, head in class_heads(network):
            count = head.num_classes
            if classes is not None and count != len(classes):
                raise UserError(
                    f'{key}.{name}.num_classes={count}: expected {len(classes)}, the classes of '
                    f'the dataset: {", ".join(classes)}'
                )


def _check_compared_scores(distiller: Distiller, classes: Sequence[str] | None) -> None:
    """Check that terms of class scores compare scores of the same class."""
    learned = distiller.teacher.classes
    if not classes or not learned or len(classes) != len(learned):
        return
    if not numbers_differ(classes, learned):
        return
    for name, term in distiller.distill.items():
        if term.adapter is None and term.classes is None and _pairs_scores(distiller, term):
            raise UserError(
                f'model.distill.{name}: expected a teacher of the classes of the dataset in their '
                f'order, {", ".join(classes)}, not {", ".join(learned)}; change the order in one '
                f'of the two, or set model.distill.{name}=None'
            )


def _pairs_scores(distiller: Distiller, term: Term) -> bool:
    """Return whether a term compares class scores, channel by channel."""
    if isinstance(term.loss, LogitKDLoss | FRSHeadLoss):
        return True
    if not isinstance(term.loss, CWDLoss | FeatureMSELoss | PKDLoss):
        return False
    networks = distiller.student, distiller.teacher.network
    heads = [dict(class_heads(network)) for network in networks]
    # The second output of a detector's head is its boxes.
    return any(
        all(
            tap.path in known and tap.index[:1] in ((), (0,))
            for tap, known in zip(pair, heads, strict=True)
        )
        for pair in zip(term.student_taps, term.compared_taps, strict=False)
    )
