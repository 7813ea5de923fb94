"""The text of a distillation's config: read back, it says what was asked for."""

from pathlib import Path

from mmkd.config.distillation_text import distillation_text
from mmkd.config.load import load_config
from mmkd.config.student import imported_modules

ROOT = Path(__file__).resolve().parents[2]
STUDENT = str(ROOT / 'configs/students/fast_scnn_streets.py')
TEACHER = dict(config='a.py', checkpoint='a.pth')
TERMS = dict(
    head=dict(
        student=['neck[0]', 'neck[1]'],
        teacher=['neck[0]', 'neck[1]'],
        loss=dict(type='PKDLoss'),
        weight=dict(type='gradient_share', share=0.1),
        loss_inputs=dict(scores=('a', 'b')),
    )
)


def written(tmp_path, *args, **kwargs):
    path = tmp_path / 'recipe.py'
    path.write_text(distillation_text(*args, **kwargs))
    return load_config(str(path))


def test_distillation_text_loaded_has_student_teacher_and_terms(tmp_path):
    config = written(tmp_path, STUDENT, TEACHER, TERMS, comments=['why'])
    student = load_config(STUDENT)
    assert config.model.student == student.model
    assert config.model.teacher == TEACHER
    assert config.model.distill.to_dict() == TERMS
    assert config.default_hooks == student.default_hooks


def test_distillation_text_student_overrides_change_its_parts(tmp_path):
    changes = dict(
        decode_head=dict(num_classes=3), auxiliary_head=[dict(num_classes=3), dict(num_classes=3)]
    )
    model = written(tmp_path, STUDENT, TEACHER, TERMS, student_overrides=changes).model.student
    assert [h.num_classes for h in (model.decode_head, *model.auxiliary_head)] == [3, 3, 3]
    assert [h.in_index for h in model.auxiliary_head] == [-2, -3]


def test_distillation_text_checkpoint_adds_the_hooks(tmp_path):
    config = written(
        tmp_path, 'mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py', TEACHER, TERMS,
        checkpoint=dict(save_best='mIoU', rule='greater'),
    )  # fmt: skip
    hooks = {hook['type'] for hook in config.default_hooks.values()}
    ours = load_config(STUDENT).default_hooks
    assert {hook['type'] for hook in ours.values()} <= hooks
    assert config.default_hooks.checkpoint.save_best == 'mIoU'


def test_distillation_text_checkpoint_logs_scores_by_iteration(tmp_path):
    base = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
    config = written(tmp_path, base, TEACHER, TERMS, checkpoint=dict(save_best='coco/bbox_mAP'))
    logger = config.default_hooks.logger
    assert (logger.log_metric_by_epoch, logger.interval) == (False, 50)  # the student's interval


def test_distillation_text_keeps_the_students_own_imports(tmp_path):
    (tmp_path / 'student.py').write_text(
        f"_base_ = '{STUDENT}'\ncustom_imports = dict(imports='json.tool')\n"
    )
    student = load_config(str(tmp_path / 'student.py'))
    text = (str(tmp_path / 'student.py'), TEACHER, TERMS)
    config = written(tmp_path, *text, imports=imported_modules(student))
    assert config.custom_imports.imports == ['mmkd', 'json.tool']
