from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.distillation.distiller import Distiller
from mmkd.distillation.teacher_views import TeacherViews
from mmkd.distillation.term_building import gather_taps, prefix_errors
from mmkd.engine.views_origin import files_origin, views_origin
from mmkd.engine.wrapping import unwrapped
from mmkd.openmmlab.preprocessing import pad_batches_to
from mmkd.registry import HOOKS


@HOOKS.register_module()
class TeacherViewsHook(Hook):
    """Read what the terms compare with from a folder, so that the teacher does not run.

    ``mmkd ablate --teacher-views`` makes the folder and adds this hook. The training data's sampler
    needs the same ``views``. Batches are padded to one size, because what a teacher yields depends
    on the padding too. Runs that do not distil are left alone.

    Args:
        folder: The folder, as seen from the work dir.

    Raises:
        UserError: Before training, the folder was made for another teacher, other data or other
            terms; in training, an image is none of its views.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller):
            return
        for name, term in model.distill.items():
            with prefix_errors(name):
                term.check_views()
        views = TeacherViews(Path(runner.work_dir) / self.folder)
        origin = views_origin(runner.cfg) | files_origin(runner.cfg)
        views.check(origin, gather_taps(model.distill, 'teacher_taps'))
        pad_batches_to(views.size, model.data_preprocessor)
        model.teacher_views = views

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller):
            return
        for batch in filter(None, (data_batch, model.unlabelled)):
            for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True):
                sample.set_metainfo(dict(teacher_view=model.teacher_views.row(image)))

    def after_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if isinstance(model, Distiller):
            model.teacher_views = None
