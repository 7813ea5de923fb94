from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import nn

from mmkd.distiller import Distiller
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.registry import HOOKS


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Refuses to train a head whose ``num_classes`` is not the data set's number of classes.

    It looks at MMSegmentation's heads, auxiliary ones too; MMDetection has a hook of its own.
    """

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        check_class_count(model, runner.train_dataloader.dataset.metainfo.get('classes'))


def check_class_count(model: nn.Module, classes: Sequence[str] | None) -> None:
    """Compare the heads of a model, or of a Distiller's student, with a data set's classes.

    Raises:
        UserError: a head has another number of classes.
    """
    key, network = (
        ('model.student', model.student) if isinstance(model, Distiller) else ('model', model)
    )
    for name, module in network.named_modules():
        if classes is None or not isinstance(module, BaseDecodeHead):
            continue
        count = module.num_classes
        if count != len(classes):
            raise UserError(
                f'{key}.{name}.num_classes={count}, but the data set has '
                f'{len(classes)} classes: {", ".join(classes)}'
            )
