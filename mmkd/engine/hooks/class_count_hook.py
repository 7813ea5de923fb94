from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmkd.distiller import Distiller
from mmkd.errors import UserError
from mmkd.registry import HOOKS


@HOOKS.register_module()
class ClassCountHook(Hook):
    """Refuses to train a head whose ``num_classes`` is not the data set's number of classes."""

    def before_train(self, runner: Runner) -> None:
        classes = runner.train_dataloader.dataset.metainfo.get('classes')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        key, network = 'model', model
        if isinstance(model, Distiller):
            key, network = 'model.student', model.student
        for name, module in network.named_children():
            count = getattr(module, 'num_classes', None)
            if classes is not None and count is not None and count != len(classes):
                raise UserError(
                    f'{key}.{name}.num_classes={count}, but the data set has '
                    f'{len(classes)} classes: {", ".join(classes)}'
                )
