from mmkd.metrics.exact_iou_metric import ExactIoUMetric
from mmkd.registry import METRICS


@METRICS.register_module()
class ClassIoUMetric(ExactIoUMetric):
    """Report the IoU of every class, in percent, as a metric with the name of the class.

    MMSegmentation's ``IoUMetric`` only prints them as a table in the log. A class that is neither
    labelled nor predicted is NaN, or ``nan_to_num`` if that is given.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        areas = [sum(area) for area in zip(*results, strict=True)]
        iou = self.total_area_to_metrics(*areas, ['mIoU'], self.nan_to_num)['IoU']
        return {
            name: float(100 * value)
            for name, value in zip(self.dataset_meta['classes'], iou, strict=True)
        }
