import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.distiller import Distiller
from mmkd.engine.hooks.class_count_hook import check_class_count
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.registry import HOOKS


@HOOKS.register_module()
class TeacherScoreHook(Hook):
    """Validates the teacher once, before training, through its own preprocessing.

    A distilled student is only as good as its teacher, and a teacher with a wrong checkpoint,
    class order or normalisation shows here and not after the run. The score is logged, kept in
    the checkpoint's ``meta.teacher_score``, and not computed again on resume. A teacher of other
    classes than the data's has no score on them, which is logged instead.
    """

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller) or runner.val_loop is None:
            return
        if 'teacher_score' in runner.message_hub.runtime_info:
            return
        try:
            check_class_count(
                model.teacher.network, runner.val_dataloader.dataset.metainfo.get('classes')
            )
        except UserError as error:
            runner.logger.info(f'the teacher is not scored on this data: {error}')
            return
        loader, evaluator = runner.val_loop.dataloader, runner.val_loop.evaluator
        teacher = model.teacher
        teacher.move_to(torch.device(get_device()))
        with torch.no_grad():
            for batch in loader:
                samples = teacher.network.val_step(batch)
                evaluator.process(data_samples=samples, data_batch=batch)
        score = {k: float(v) for k, v in evaluator.evaluate(len(loader.dataset)).items()}
        runner.message_hub.update_info('teacher_score', score)
        runner.logger.info('teacher alone: ' + ', '.join(f'{k} {v:.4g}' for k, v in score.items()))
