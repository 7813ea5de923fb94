"""The distillation core: a student, a frozen teacher, and the terms that compare them."""

from mmkd.distillation.distiller import Distiller

__all__ = ['Distiller']
