import io

import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmkd.errors import UserError
from mmkd.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadLabels(LoadAnnotations):
    """MMSegmentation's ``LoadAnnotations``, which stops at a label that cannot be its image's.

    A label of another size would be cropped elsewhere than its image, and an unknown class be left
    out of the score, both without a word.

    The known class ids are 0 to ``num_classes - 1``, which the data set says of itself, and 255,
    which is ignored.

    Raises:
        UserError: the file is missing or damaged, has another size than the image, or holds an
            unknown class id; or the data set does not say how many classes there are.
    """

    def transform(self, results: dict) -> dict:
        path, classes = results['seg_map_path'], results.get('num_classes')
        if classes is None:
            raise UserError(
                'mmkd.LoadLabels needs a data set that says how many classes it has: use '
                "type='mmkd.FolderDataset', or the transform LoadAnnotations"
            )
        try:
            mode = Image.open(io.BytesIO(fileio.get(path, backend_args=self.backend_args))).mode
            results = super().transform(results)
        except Exception as error:  # damaged bytes make a decoder raise almost anything
            reason = ' '.join(str(error).split())[:120] or type(error).__name__
            raise UserError(f'label {path} cannot be read: {reason}') from None
        if mode[0] in 'IF':  # which would be cut down to eight bits
            raise UserError(f'label {path} has the mode {mode}; allowed: one channel of 8 bits')
        label = results['gt_seg_map']
        if label.shape != tuple(results['ori_shape']):
            raise UserError(
                f'label {path} has the shape {label.shape}, but its image '
                f'{tuple(results["ori_shape"])}'
            )
        unknown = np.bincount(label.ravel(), minlength=256)[classes:255].nonzero()[0]
        if unknown.size:
            raise UserError(
                f'label {path} holds the class id {classes + unknown[0]}; '
                f'allowed: 0 to {classes - 1}, and 255, which is ignored'
            )
        return results
