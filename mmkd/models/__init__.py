"""Architectures that MMSegmentation and MMDetection lack, and pretrained weights for others."""

from mmkd.models.efficientnet_lite2_weights import EfficientNetLite2Weights
from mmkd.models.vmamba import VMamba
from mmkd.models.yolo11 import YOLO11PAFPN, YOLO11Backbone, YOLO11Head

__all__ = ['EfficientNetLite2Weights', 'VMamba', 'YOLO11Backbone', 'YOLO11Head', 'YOLO11PAFPN']
