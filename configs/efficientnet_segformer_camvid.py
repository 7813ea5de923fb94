# SegFormer-B0 from random weights under an EfficientNet.
_base_ = [
    '_base_/datasets/camvid.py',
    '_base_/distillers/segformer_b0_pkd.py',
    '_base_/schedules/segformer_camvid_40_epochs.py',
    '_base_/default_runtime.py',
]
model = dict(
    teacher=dict(
        config='configs/teachers/efficientnet_lite2_camvid.py',
        checkpoint='work_dirs/efficientnet_lite2_camvid/best.pth',
    ),
)
