from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.distillation.distiller import Distiller
from mmkd.distillation.teacher_views import TeacherViews
from mmkd.distillation.term_building import prefix_errors
from mmkd.engine.views_origin import views_origin, weights_origin
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
        folder: The folder.

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
        views = TeacherViews(self.folder)
        targets = []
        for name, term in model.distill.items():
            with prefix_errors(name):
                targets += term.targets()
        views.check(views_origin(runner.cfg) | weights_origin(runner.cfg), targets)
        if views.size is not None:
            pad_batches_to(views.size, model.data_preprocessor)
        model.teacher_views = views

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        model = unwrapped(runner.model)
        if isinstance(model, Distiller):
            for image, sample in zip(data_batch['inputs'], data_batch['data_samples'], strict=True):
                sample.set_metainfo(dict(teacher_view=model.teacher_views.row(image)))

    def after_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if isinstance(model, Distiller):
            model.teacher_views = None
