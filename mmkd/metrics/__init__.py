"""Metrics that MMSegmentation lacks."""

from mmkd.metrics.class_iou_metric import ClassIoUMetric
from mmkd.metrics.exact_iou_metric import ExactIoUMetric

__all__ = ['ClassIoUMetric', 'ExactIoUMetric']
