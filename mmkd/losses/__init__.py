"""Distillation losses, one registered method per file.

Every loss computes in float32, or in float64 if an input is float64, with or without autocast. The
teacher's side is detached. Shapes use the letters of :mod:`mmkd.ops`.
"""

from mmkd.losses.activation_at_loss import ActivationATLoss
from mmkd.losses.cwd_loss import CWDLoss
from mmkd.losses.fam_loss import FAMLoss
from mmkd.losses.feature_mse_loss import FeatureMSELoss
from mmkd.losses.frequency_attention_loss import FrequencyAttentionLoss
from mmkd.losses.frs_feature_loss import FRSFeatureLoss
from mmkd.losses.frs_head_loss import FRSHeadLoss
from mmkd.losses.gradient_at_loss import GradientATLoss
from mmkd.losses.localization_kd_loss import LocalizationKDLoss
from mmkd.losses.logit_kd_loss import LogitKDLoss
from mmkd.losses.pkd_loss import PKDLoss
from mmkd.losses.spectral_graph_loss import SpectralGraphLoss
from mmkd.losses.spectrum_loss import SpectrumLoss

__all__ = [
    'ActivationATLoss',
    'CWDLoss',
    'FAMLoss',
    'FRSFeatureLoss',
    'FRSHeadLoss',
    'FeatureMSELoss',
    'FrequencyAttentionLoss',
    'GradientATLoss',
    'LocalizationKDLoss',
    'LogitKDLoss',
    'PKDLoss',
    'SpectralGraphLoss',
    'SpectrumLoss',
]
