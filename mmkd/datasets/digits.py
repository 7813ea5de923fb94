import numpy as np
from mmengine.dataset import BaseDataset

from mmkd.errors import UserError, check_choice
from mmkd.registry import DATASETS


@DATASETS.register_module()
class Digits(BaseDataset):
    """Handwritten digits that scikit-learn's package holds: 1,797 images of 8x8 pixels.

    ``train`` is the first half (898 images) and ``val`` the second (899), as in scikit-learn's own
    example of recognising them. Items hold ``img`` (8, 8, 3), uint8, grey, and ``gt_label``.

    Source: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998
    (https://doi.org/10.24432/C50P49).

    Args:
        split: ``'train'`` or ``'val'``.
        **kwargs: See ``mmengine.dataset.BaseDataset``.

    Raises:
        UserError: ``split`` is another word, or scikit-learn is not installed.
    """

    METAINFO = dict(classes=tuple('0123456789'))

    def __init__(self, split: str, **kwargs) -> None:
        check_choice('dataset.split', split, ('train', 'val'))
        self.split = split
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        try:
            from sklearn.datasets import load_digits  # an extra
        except ImportError:
            raise UserError(
                'dataset.type=mmkd.Digits: expected scikit-learn to be installed; run '
                "pip install 'mmkd[classification]'"
            ) from None
        digits = load_digits()
        half = len(digits.images) // 2
        part = slice(half) if self.split == 'train' else slice(half, None)
        grey = np.rint(digits.images[part] * (255 / 16)).astype(np.uint8)  # 0 to 16 in the package
        return [
            dict(img=image, gt_label=int(label), img_shape=(8, 8), ori_shape=(8, 8))
            for image, label in zip(grey[..., None].repeat(3, -1), digits.target[part], strict=True)
        ]
