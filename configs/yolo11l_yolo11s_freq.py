# Frequency attention at the same layers: layout in the backbone, borders and detail in the neck.
_base_ = './yolo11l_yolo11s_at.py'
model = dict(
    distill={
        f'layer{i}': dict(
            loss=dict(
                _delete_=True, type='FrequencyAttentionLoss', low=low, high=1.0 - low, cutoff=0.25
            )
        )
        for i, low in ((6, 1.0), (8, 1.0), (13, 0.0), (16, 0.0), (19, 0.0), (22, 0.0))
    },
)
