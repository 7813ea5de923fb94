"""Architectures that MMSegmentation and MMDetection lack."""

from mmkd.models.vmamba import VMamba
from mmkd.models.yolo11 import YOLO11PAFPN, YOLO11Backbone, YOLO11Head

__all__ = ['VMamba', 'YOLO11Backbone', 'YOLO11Head', 'YOLO11PAFPN']
