from collections.abc import Sequence
from pathlib import Path

from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.datasets.folder_dataset import FolderDataset, check_keeps_zero
from mmkd.errors import UserError
from mmkd.registry import DATASETS


@DATASETS.register_module()
class CamVidDataset(FolderDataset):
    """CamVid road scenes in the SegNet layout: ``root/{train,val}`` and ``root/*annot``.

    Labels are PNGs with class ids 0 to 10; 11 (void) is ignored. ``metainfo.classes`` may choose
    some of the classes, in any order: the others are ignored too. Brostow, Fauqueur and
    Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009.

    All of ``val`` is the sequence 0016E5, which is also more than half of ``train``. To measure a
    network on a street that it has not seen, hold a sequence out of ``train``
    (``sequences=['0001TP', '0016E5']``) and validate on it (``sequences=['0006R0']``).

    Args:
        sequences: Video sequences to keep, by the part of the file names before ``_``; all if
            omitted.
        **kwargs: See ``mmkd.FolderDataset``.

    Raises:
        UserError: A sequence does not have an image, or ``reduce_zero_label`` is set.
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)
    VOID = 11

    def __init__(self, sequences: Sequence[str] | None = None, **kwargs) -> None:
        check_keeps_zero(kwargs.get('reduce_zero_label', False), CLASSES)
        self.sequences = sequences
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        data_list = super().load_data_list()
        if self.sequences is not None:
            by_name = [_sequence(info) for info in data_list]
            for name in self.sequences:
                if name not in by_name:
                    raise UserError(
                        f'dataset.sequences={name!r}: expected one of '
                        f'{", ".join(sorted(set(by_name)))}; these are in '
                        f'{self.data_prefix["img_path"]}'
                    )
            data_list = [info for info in data_list if _sequence(info) in self.sequences]
        for info in data_list:
            info['label_map'] = {**(self.label_map or {}), self.VOID: self.ignore_index}
        return data_list


def _sequence(info: dict) -> str:
    return Path(info['img_path']).name.partition('_')[0]
