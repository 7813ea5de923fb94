"""Teachers: build the network that ``model.teacher`` names, wherever it comes from."""

from mmkd.teachers.build import build_teacher_network
from mmkd.teachers.keys import (
    check_teacher_keys,
    check_weights_exist,
    teacher_kind,
    teacher_name,
    teacher_weights,
)
from mmkd.teachers.network import TeacherNetwork

__all__ = [
    'TeacherNetwork',
    'build_teacher_network',
    'check_teacher_keys',
    'check_weights_exist',
    'teacher_kind',
    'teacher_name',
    'teacher_weights',
]
