"""Distillation losses, one registered method a file."""

from mmkd.losses.frequency_attention_loss import FrequencyAttentionLoss

__all__ = ['FrequencyAttentionLoss']
