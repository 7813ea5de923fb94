# Fast-SCNN under frequency attention, "basic": low frequencies, the layout of the scene, at the
# encoder's end; high frequencies, borders and detail, at the decoder's start. A leaf adds the
# teacher, any SegFormer of MMSegmentation.
_base_ = '../models/fast_scnn.py'
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill=dict(
        encoder=dict(
            student='backbone[1]',
            teacher='backbone[3]',
            loss=dict(type='FrequencyAttentionLoss', low=1.0, high=0.0, cutoff=0.25),
        ),
        decoder=dict(
            student='backbone[2]',
            teacher='decode_head.fusion_conv',
            loss=dict(type='FrequencyAttentionLoss', low=0.0, high=1.0, cutoff=0.25),
        ),
    ),
)
