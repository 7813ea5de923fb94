import torch
from mmseg.evaluation import IoUMetric
from torch import Tensor

from mmkd.registry import METRICS


@METRICS.register_module()
class ExactIoUMetric(IoUMetric):
    """MMSegmentation's ``IoUMetric``, which counts pixels as whole numbers.

    MMSegmentation counts in float32, by ``torch.histc``. With one thread such a count stops at
    16,777,216 pixels, and a sum over images loses its last digits beyond them: one large tile is
    enough. Here no size and no number of threads changes a count. Below that limit the scores are
    MMSegmentation's, to the last digit.
    """

    @staticmethod
    def intersect_and_union(
        pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Count the pixels of each class.

        Args:
            pred_label: Predicted class ids, of any shape.
            label: True class ids, of the same shape.
            num_classes: Ids from this one on belong to no class.
            ignore_index: Pixels with this true id do not count.

        Returns:
            Intersection, union, predicted and true pixels, each (num_classes,), int64.
        """
        matrix = confusion_matrix(pred_label, label, num_classes, ignore_index).cpu()
        inside = matrix[:num_classes, :num_classes]
        intersection = inside.diagonal()
        predicted = matrix.sum(0)[:num_classes]
        true = matrix.sum(1)[:num_classes]
        return intersection, predicted + true - intersection, predicted, true


def confusion_matrix(
    predicted: Tensor, label: Tensor, num_classes: int, ignore_index: int
) -> Tensor:
    """Count the pixels of each pair of a true and a predicted class.

    Returns:
        (num_classes + 1, num_classes + 1), int64: true classes down, predicted ones across. The
        last row and column count the ids that belong to no class.
    """
    kept = label != ignore_index
    size = num_classes + 1
    predicted, label = _clip(predicted[kept], num_classes), _clip(label[kept], num_classes)
    return torch.bincount(label * size + predicted, minlength=size * size).view(size, size)


def _clip(ids: Tensor, num_classes: int) -> Tensor:
    ids = ids.long()
    return torch.where(ids < 0, num_classes, ids).clamp_(max=num_classes)
