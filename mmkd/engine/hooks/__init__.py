"""Hooks of a distillation run."""

from mmkd.engine.hooks.best_checkpoint_hook import BestCheckpointHook
from mmkd.engine.hooks.check_num_classes_hook import CheckNumClassesHook
from mmkd.engine.hooks.check_resumed_hook import CheckResumedHook
from mmkd.engine.hooks.distill_visualization_hook import DistillVisualizationHook
from mmkd.engine.hooks.finite_gradient_hook import FiniteGradientHook
from mmkd.engine.hooks.lean_heads_hook import LeanHeadsHook
from mmkd.engine.hooks.loss_weight_hook import LossWeightHook
from mmkd.engine.hooks.progress_bar_hook import ProgressBarHook
from mmkd.engine.hooks.step_seed_hook import StepSeedHook
from mmkd.engine.hooks.student_checkpoint_hook import StudentCheckpointHook
from mmkd.engine.hooks.sync_buffers_from_rank0_hook import SyncBuffersFromRank0Hook
from mmkd.engine.hooks.teacher_views_hook import TeacherViewsHook
from mmkd.engine.hooks.unfinished_training_hook import UnfinishedTrainingHook
from mmkd.engine.hooks.unlabelled_images_hook import UnlabelledImagesHook
from mmkd.engine.hooks.validate_teacher_hook import ValidateTeacherHook

__all__ = [
    'BestCheckpointHook',
    'SyncBuffersFromRank0Hook',
    'CheckNumClassesHook',
    'CheckResumedHook',
    'DistillVisualizationHook',
    'FiniteGradientHook',
    'LeanHeadsHook',
    'ProgressBarHook',
    'StepSeedHook',
    'StudentCheckpointHook',
    'TeacherViewsHook',
    'UnfinishedTrainingHook',
    'UnlabelledImagesHook',
    'ValidateTeacherHook',
    'LossWeightHook',
]
