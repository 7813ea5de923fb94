"""Configs whose types are classes, as in MMEngine's pure Python configs, or subclasses."""

from mmengine.config import Config

from mmkd.config.checks.checkpoints import has_best_checkpoint_hook
from mmkd.config.load import load_config
from mmkd.config.student import is_distillation, student_config
from mmkd.config.types import is_kind, type_library, type_name
from mmkd.distillation.distiller import Distiller
from mmkd.engine.hooks import BestCheckpointHook
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.registry import HOOKS, MODELS

# A subclass of the Distiller, a student whose types are classes, and hooks of both kinds.
PURE = """
from mmdet.models import DetDataPreprocessor, RetinaNet
from mmkd.engine.hooks import BestCheckpointHook, CheckNumClassesHook
from tests_of_types import Weighted

student = dict(
    type=RetinaNet,
    data_preprocessor=dict(type=DetDataPreprocessor, bgr_to_rgb=True, pad_size_divisor=32))
model = dict(type=Weighted, student=student, teacher=dict(), distill=dict())
default_hooks = dict(count=dict(type=CheckNumClassesHook))
custom_hooks = [dict(type=BestCheckpointHook)]
custom_imports = dict(imports='tests_of_types')
"""
MODULE = """
from mmkd.distillation.distiller import Distiller
from mmkd.registry import MODELS

@MODELS.register_module(force=True)
class Weighted(Distiller):
    pass
"""


def pure_config(folder, monkeypatch) -> Config:
    (folder / 'tests_of_types.py').write_text(MODULE)
    (folder / 'pure.py').write_text(PURE)
    monkeypatch.syspath_prepend(folder)
    return load_config(str(folder / 'pure.py'))


def test_is_distillation_pure_python_subclass_is_recognised(tmp_path, monkeypatch):
    config = pure_config(tmp_path, monkeypatch)
    assert is_distillation(config)
    # The copy that MMEngine writes into a work dir names the classes by their paths.
    config.dump(tmp_path / 'copy.py')
    assert is_distillation(load_config(str(tmp_path / 'copy.py')))
    config.model.type = 'Weighted'
    assert is_distillation(config)
    config.model.type = config.model.student.type
    assert not is_distillation(config)


def test_has_best_checkpoint_hook_pure_python_class_is_found(tmp_path, monkeypatch):
    config = pure_config(tmp_path, monkeypatch)
    assert has_best_checkpoint_hook(config)
    config.custom_hooks = []
    assert not has_best_checkpoint_hook(config)


def test_student_config_pure_python_builds_again(tmp_path, monkeypatch):
    student = student_config(pure_config(tmp_path, monkeypatch))
    student.dump(tmp_path / 'student.py')
    again = load_config(str(tmp_path / 'student.py'))
    assert again.model.type == 'mmdet.models.RetinaNet'
    assert again.custom_imports.imports == ['tests_of_types']
    preprocessing = Preprocessing.from_config(student.model.data_preprocessor)
    assert preprocessing == Preprocessing.from_config(again.model.data_preprocessor)
    assert (preprocessing.type, preprocessing.divisor) == ('DetDataPreprocessor', 32)


def test_type_helpers_name_and_class_agree():
    for kind in (Distiller, 'mmkd.Distiller', 'mmkd.distillation.distiller.Distiller'):
        assert type_name(kind) == 'Distiller' and type_library(kind) == 'mmkd'
        assert is_kind(kind, 'Distiller', MODELS)
    assert type_library('Distiller') == ''
    assert not is_kind(BestCheckpointHook, 'CheckNumClassesHook', HOOKS)
    assert not is_kind('no.such.Type', 'Distiller', MODELS)
    assert not is_kind(None, 'Distiller', MODELS)
