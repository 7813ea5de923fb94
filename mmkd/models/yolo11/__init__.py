"""YOLO11 as parts of an MMDetection single-stage detector."""

from mmkd.models.yolo11.inside_ciou import InsideCIoU
from mmkd.models.yolo11.yolo11_backbone import YOLO11Backbone
from mmkd.models.yolo11.yolo11_head import YOLO11Head
from mmkd.models.yolo11.yolo11_pafpn import YOLO11PAFPN

__all__ = ['InsideCIoU', 'YOLO11Backbone', 'YOLO11Head', 'YOLO11PAFPN']
