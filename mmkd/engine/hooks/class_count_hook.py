from collections.abc import Sequence

from mmdet.models.roi_heads.mask_heads import FusedSemanticHead
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmkd.distiller import Distiller
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.registry import HOOKS
from mmkd.taps import INPUT_GRADIENT


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Refuses to train a head whose ``num_classes`` is not the data set's number of classes.

    It looks at every head of a segmentor or detector, auxiliary ones too, but at no region
    proposal network, whose one class is "object".
    """

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        check_class_count(model, runner.train_dataloader.dataset.metainfo.get('classes'))


def check_class_count(model: nn.Module, classes: Sequence[str] | None) -> None:
    """Compare the heads of a model, or of a Distiller's student, with a data set's classes.

    A Distiller's teacher is looked at too where its own loss is asked for, by ``input_gradient``.

    Raises:
        UserError: a head has another number of classes.
    """
    networks = dict(model=model)
    if isinstance(model, Distiller):
        networks = {'model.student': model.student}
        if any(INPUT_GRADIENT in term.teacher_taps for term in model.distill.values()):
            networks['model.teacher'] = model.teacher.network
    for key, network in networks.items():
        for name, module in network.named_modules():
            if classes is None or not _classifies(name, module):
                continue
            count = module.num_classes
            if count != len(classes):
                raise UserError(
                    f'{key}.{name}.num_classes={count}, but the data set has '
                    f'{len(classes)} classes: {", ".join(classes)}'
                )


def _classifies(name: str, module: nn.Module) -> bool:
    # Heads of MMSegmentation and MMDetection share no base, but their names and this attribute.
    return (
        type(module).__name__.endswith('Head')
        and hasattr(module, 'num_classes')
        and 'rpn_head' not in name.split('.')
        and not isinstance(module, FusedSemanticHead)  # its classes are pixels', not boxes'
    )
