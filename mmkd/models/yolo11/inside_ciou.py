from torch import Tensor
from torchvision.ops import complete_box_iou

from mmkd.registry import TASK_UTILS


@TASK_UTILS.register_module()
class InsideCIoU:
    """The overlap by which YOLO11 assigns: CIoU where a box's prior is inside the ground truth.

    MMDetection's ``TaskAlignedAssigner`` takes a ground truth's best ``topk`` predictions of the
    whole image and then drops those whose prior lies outside it. YOLO takes the best ``topk`` of
    those inside. With an overlap of 0 outside the two are the same, and the assigner stays
    MMDetection's; ``YOLO11Head`` therefore hands each box's prior on beside it. On the
    reference's fixture plain IoU gives 50 positives, this overlap the reference's 71.

    CIoU: Zheng et al., "Distance-IoU Loss", AAAI 2020.
    """

    def __call__(self, bboxes: Tensor, gt_bboxes: Tensor) -> Tensor:
        """Overlaps (A, G) in [0, 1].

        Args:
            bboxes: (A, 6): a predicted box x1, y1, x2, y2 and the centre x, y of its prior.
            gt_bboxes: (G, 4).
        """
        centres = bboxes[:, None, 4:]
        inside = ((centres > gt_bboxes[:, :2]) & (centres < gt_bboxes[:, 2:])).all(-1)
        return complete_box_iou(bboxes[:, :4], gt_bboxes).clamp(min=0) * inside
