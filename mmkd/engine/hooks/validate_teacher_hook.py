import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.config.checks.checkpoints import check_metric_reported
from mmkd.datasets.class_order import classes_of
from mmkd.distillation.distiller import Distiller
from mmkd.engine.teacher_score import predict_as_teacher, why_not_scored
from mmkd.engine.wrapping import unwrapped
from mmkd.openmmlab.tasks import is_detector
from mmkd.registry import HOOKS


@HOOKS.register_module()
class ValidateTeacherHook(Hook):
    """Validate the teacher once before training, through its own preprocessing and ``scale``.

    A wrong checkpoint, class order or normalisation of the teacher then shows before the run, not
    after it. The score is logged, stored in the checkpoint's ``meta.teacher_score``, and not
    computed again on resume. A teacher without a head, of another task or with other classes than
    the data does not get a score; the log says so.

    Raises:
        UserError: In training, the metric that chooses the best checkpoint is not reported.
    """

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller) or runner.val_loop is None:
            return
        if 'teacher_score' in runner.message_hub.runtime_info:
            return
        classes = classes_of(runner.val_dataloader.dataset)
        if reason := why_not_scored(model.teacher.network, model.student, classes):
            runner.logger.info(f'the teacher is not scored on this data: {reason}')
            return
        loader, evaluator = runner.val_loop.dataloader, runner.val_loop.evaluator
        network = model.teacher.for_prediction(torch.device(get_device()))
        with torch.no_grad():
            for batch in loader:
                samples = predict_as_teacher(network, model.teacher.inputs, batch)
                evaluator.process(data_samples=samples, data_batch=batch)
        score = {k: float(v) for k, v in evaluator.evaluate(len(loader.dataset)).items()}
        if not is_detector(model.student):  # one that finds nothing reports less
            check_metric_reported(runner.cfg, score)
        runner.message_hub.update_info('teacher_score', score)
        runner.logger.info('teacher: ' + ', '.join(f'{k} {v:.4g}' for k, v in score.items()))
