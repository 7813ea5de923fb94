"""MMRazor 1.0 beside mmkd: its import, and its algorithm on a Distiller's networks."""

import copy
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from unittest import mock

from mmengine.config import Config
from torch import nn

from mmkd.config.load import load_config
from mmkd.distillation.distiller import Distiller
from mmkd.registry import MODELS


def import_mmrazor() -> type[nn.Module]:
    """Import mmrazor's losses and return its algorithm for one teacher.

    mmrazor 1.0 accepts mmcv up to 2.1 only. Its packages import all of their modules, some of
    which fail with this PyTorch: here each package is empty, and distillation alone is imported.
    """
    import mmcv

    with mock.patch.object(mmcv, '__version__', '2.1.0'):
        import mmrazor
    name = 'mmrazor.models.algorithms.distill.configurable.single_teacher_distill'
    if name not in sys.modules:
        packages = [name.rsplit('.', depth)[0] for depth in (4, 3, 2, 1)]
        packages += [f'mmrazor.models.{p}' for p in ('architectures', 'distillers', 'task_modules')]
        for package in packages:
            empty = ModuleType(package)
            empty.__path__ = [str(Path(mmrazor.__file__).parent.joinpath(*package.split('.')[1:]))]
            sys.modules[package] = empty
        tasks = sys.modules['mmrazor.models.task_modules']
        tasks.RecorderManager = import_module(f'{tasks.__name__}.recorder').RecorderManager
        delivery = import_module(f'{tasks.__name__}.delivery')
        tasks.DistillDeliveryManager = delivery.DistillDeliveryManager
        import_module('mmrazor.models.distillers.configurable_distiller')
        import_module('mmrazor.models.losses')  # into its registry
    for registry in (mmrazor.registry.MODELS, mmrazor.registry.TASK_UTILS):
        registry._imported = True  # A look-up would import everything else.
    return import_module(name).SingleTeacherDistill


def mmrazor_algorithm(
    distiller: Distiller, config: Config, taps: tuple[str, str], loss: dict, names: tuple[str, str]
) -> nn.Module:
    """Return mmrazor's algorithm on copies of a Distiller's networks.

    Args:
        distiller: Its weights are taken.
        config: The config that it was built from.
        taps: The module whose output is compared, of the student and of the teacher.
        loss: mmrazor's, of what the two modules yield.
        names: The parameters of that loss, of the student and of the teacher.
    """
    networks = []
    for settings, network in (
        (config.model.student, distiller.student),
        (load_config(config.model.teacher.config).model, distiller.teacher.network),
    ):
        plain = MODELS.build(copy.deepcopy(settings))
        plain.load_state_dict(network.state_dict())
        networks.append(plain)
    student, teacher = (dict(x=dict(type='mmrazor.ModuleOutputs', source=tap)) for tap in taps)
    algorithm = import_mmrazor()(
        distiller=dict(
            type='mmrazor.ConfigurableDistiller',
            student_recorders=student,
            teacher_recorders=teacher,
            distill_losses=dict(loss_x=loss),
            loss_forward_mappings=dict(
                loss_x={name: dict(from_student=name == names[0], recorder='x') for name in names}
            ),
        ),
        architecture=networks[0],
        teacher=networks[1],
    )
    algorithm.train()
    algorithm.teacher.eval()  # mmrazor leaves its dropout on.
    return algorithm
