"""Load configs, check them, and find the student in them."""

from mmkd.config.load import load_config, load_distillation, load_work_dir_config
from mmkd.config.student import is_distillation, model_config, student_config

__all__ = [
    'is_distillation',
    'load_config',
    'load_distillation',
    'load_work_dir_config',
    'model_config',
    'student_config',
]
