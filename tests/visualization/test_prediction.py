import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData

from mmkd.visualization.prediction import prediction_picture, truth_picture

METAINFO = dict(classes=('a', 'b'), palette=[(255, 0, 0), (0, 0, 255)])


def test_prediction_picture_draws_boxes_of_every_kind():
    image = np.zeros((40, 60, 3), np.uint8)
    boxes = torch.tensor([[5.0, 6.0, 30.0, 20.0]])
    pictures = []
    for kind in (boxes, HorizontalBoxes(boxes)):
        sample = DetDataSample(metainfo=dict(ori_shape=(40, 60)))
        sample.gt_instances = InstanceData(bboxes=kind, labels=torch.tensor([1]))
        pictures.append(truth_picture(image, sample, METAINFO))
    assert (pictures[0] == pictures[1]).all()
    assert pictures[0][6, 10].tolist() == [255, 0, 0]  # the second class is blue, in BGR
    assert pictures[0][30:].sum() == 0


def test_prediction_picture_boxes_outside_are_clipped_to_edge():
    sample = DetDataSample(metainfo=dict(ori_shape=(40, 60)))
    boxes = torch.tensor([[-1e30, 5.0, 1e30, 9.0], [float('nan')] * 4])
    sample.pred_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([0, 0]), scores=torch.tensor([0.9, 0.9])
    )
    picture = prediction_picture(np.zeros((40, 60, 3), np.uint8), sample, METAINFO)
    assert (picture[5] == [0, 0, 255]).all()
