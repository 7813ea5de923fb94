"""Metrics that MMSegmentation lacks."""

from mmkd.evaluation.class_iou_metric import ClassIoUMetric

__all__ = ['ClassIoUMetric']
