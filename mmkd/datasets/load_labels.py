import numpy as np
from mmseg.datasets.transforms import LoadAnnotations

from mmkd.errors import UserError
from mmkd.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLabels(LoadAnnotations):
    """MMSegmentation's ``LoadAnnotations``, which stops at a label that cannot be its image's.

    A label of another size would be cropped elsewhere than its image, and an unknown class be left
    out of the score, both without a word.

    Args:
        num_classes: the known class ids are 0 to ``num_classes - 1``, and 255, which is ignored.
        **kwargs: arguments of ``LoadAnnotations``.

    Raises:
        UserError: the file is missing or damaged, has another size than the image, or holds an
            unknown class id.
    """

    def __init__(self, num_classes: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        path = results['seg_map_path']
        try:
            results = super().transform(results)
        except Exception as error:  # damaged bytes make a decoder raise almost anything
            reason = ' '.join(str(error).split())[:120] or type(error).__name__
            raise UserError(f'label {path} cannot be read: {reason}') from None
        label = results['gt_seg_map']
        if label.shape != tuple(results['ori_shape']):
            raise UserError(
                f'label {path} has the shape {label.shape}, but its image '
                f'{tuple(results["ori_shape"])}'
            )
        unknown = np.bincount(label.ravel(), minlength=256)[self.num_classes : 255].nonzero()[0]
        if unknown.size:
            raise UserError(
                f'label {path} holds the class id {self.num_classes + unknown[0]}; '
                f'allowed: 0 to {self.num_classes - 1}, and 255, which is ignored'
            )
        return results
