import numpy as np
from mmcv.transforms import BaseTransform

from mmkd.datasets.street_scenes.renderer import render_street
from mmkd.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RenderStreet(BaseTransform):
    """Render the scene; the first transform of a StreetScenes pipeline.

    It reads ``street`` = (split, index), ``size`` and ``label_map``, and adds

    * img: (H, W, 3) uint8, BGR
    * img_shape, ori_shape: (H, W)
    * gt_seg_map: (H, W) uint8, with its name in seg_fields if the dataset has seg_fields
    * gt_bboxes: (n, 4) float32, x1 y1 x2 y2 in pixels, around the visible part of each sign, car,
      pedestrian and cyclist
    * gt_bboxes_labels: (n,) int64, the same classes as in gt_seg_map
    * instances: the same boxes in the form of MMDetection's LoadAnnotations and metrics
    """

    def transform(self, results: dict) -> dict:
        split, index = results['street']
        scene = render_street(index, split, results['size'])
        label, boxes, box_labels = scene.label, scene.boxes, scene.box_labels
        if results['label_map'] is not None:  # metainfo chooses classes
            new_of_old = np.arange(256)
            new_of_old[list(results['label_map'])] = list(results['label_map'].values())
            label, box_labels = new_of_old.astype(np.uint8)[label], new_of_old[box_labels]
            boxes, box_labels = boxes[box_labels != 255], box_labels[box_labels != 255]
        results['img'] = scene.image
        results['img_shape'] = results['ori_shape'] = scene.image.shape[:2]
        if 'seg_fields' in results:
            results['gt_seg_map'] = label
            results['seg_fields'].append('gt_seg_map')
        results['gt_bboxes'] = boxes
        results['gt_bboxes_labels'] = box_labels
        results['instances'] = [
            dict(bbox=box, bbox_label=label, ignore_flag=0)
            for box, label in zip(boxes.tolist(), box_labels.tolist(), strict=True)
        ]
        return results
