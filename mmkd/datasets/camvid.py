from mmkd.datasets.camvid_classes import CLASSES, PALETTE
from mmkd.datasets.folder_dataset import FolderDataset
from mmkd.registry import DATASETS


@DATASETS.register_module()
class CamVidDataset(FolderDataset):
    """CamVid road scenes in the SegNet layout: ``root/{train,val}`` and ``root/*annot``.

    Labels are PNGs with class ids 0 to 10; 11 (void) is ignored. Brostow, Fauqueur and
    Cipolla, "Semantic object classes in video", Pattern Recognition Letters 2009.
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)
    VOID = 11

    def load_data_list(self) -> list[dict]:
        data_list = super().load_data_list()
        for info in data_list:
            info['label_map'] = {self.VOID: self.ignore_index}
        return data_list
