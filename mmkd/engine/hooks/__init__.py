"""Hooks around a distillation run."""

from mmkd.engine.hooks.best_checkpoint_hook import BestCheckpointHook
from mmkd.engine.hooks.broadcast_buffers_hook import BroadcastBuffersHook
from mmkd.engine.hooks.class_count_hook import ClassCountHook
from mmkd.engine.hooks.distill_visualization_hook import DistillVisualizationHook
from mmkd.engine.hooks.finite_gradient_hook import FiniteGradientHook
from mmkd.engine.hooks.progress_bar_hook import ProgressBarHook
from mmkd.engine.hooks.step_seed_hook import StepSeedHook
from mmkd.engine.hooks.student_checkpoint_hook import StudentCheckpointHook
from mmkd.engine.hooks.teacher_score_hook import TeacherScoreHook
from mmkd.engine.hooks.term_schedule_hook import TermScheduleHook

__all__ = [
    'BestCheckpointHook',
    'BroadcastBuffersHook',
    'ClassCountHook',
    'DistillVisualizationHook',
    'FiniteGradientHook',
    'ProgressBarHook',
    'StepSeedHook',
    'StudentCheckpointHook',
    'TeacherScoreHook',
    'TermScheduleHook',
]
