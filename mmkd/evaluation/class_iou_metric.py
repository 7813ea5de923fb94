from mmseg.evaluation import IoUMetric

from mmkd.registry import METRICS


@METRICS.register_module()
class ClassIoUMetric(IoUMetric):
    """IoU of every class as a metric of its own, in percent, under the class's name.

    MMSegmentation's ``IoUMetric`` prints them as a table in the log only. A class that is neither
    labelled nor predicted is NaN.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        areas = [sum(area) for area in zip(*results, strict=True)]
        iou = self.total_area_to_metrics(*areas, ['mIoU'])['IoU']
        return {
            name: float(100 * value)
            for name, value in zip(self.dataset_meta['classes'], iou, strict=True)
        }
