from torch import Tensor
from torchvision.ops import complete_box_iou

from mmkd.registry import TASK_UTILS


@TASK_UTILS.register_module()
class InsideCIoU:
    """The overlap by which YOLO11 assigns: CIoU, or 0 for a prior outside the ground truth.

    MMDetection's ``TaskAlignedAssigner`` takes the best ``topk`` predictions of the whole image for
    a ground truth, then drops those with their prior outside. YOLO takes the best ``topk`` of those
    inside. With an overlap of 0 outside, MMDetection's assigner does the same. ``YOLO11Head``
    therefore passes the prior with each box. On the reference's fixture plain IoU gives 50
    positives; this overlap gives 71, as the reference does.

    CIoU: Zheng et al., "Distance-IoU Loss", AAAI 2020.
    """

    def __call__(self, bboxes: Tensor, gt_bboxes: Tensor) -> Tensor:
        """Return overlaps (A, G) in [0, 1].

        Args:
            bboxes: (A, 6): a predicted box x1, y1, x2, y2 and the centre x, y of its prior.
            gt_bboxes: (G, 4).
        """
        centres = bboxes[:, None, 4:]
        inside = ((centres > gt_bboxes[:, :2]) & (centres < gt_bboxes[:, 2:])).all(-1)
        return complete_box_iou(bboxes[:, :4], gt_bboxes).clamp(min=0) * inside
