# Fast-SCNN under frequency attention, "basic": low frequencies, the layout of the scene, at the
# encoder's end; high frequencies, borders and detail, at the decoder's start. A leaf adds the
# teacher, any SegFormer of MMSegmentation.
#
# The encoder's tap is the teacher's 1x1 convolution of stage 4 and not backbone[3]: SegFormer's
# stages end in a LayerNorm, after which the sum of squares over channels is the same at every
# position and an attention map is blank. The weights keep the terms' gradients
# well below the task's at every age of the student (docs/methods.md).
_base_ = '../models/fast_scnn.py'
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill=dict(
        encoder=dict(
            student='backbone[1]',
            teacher='decode_head.convs.3',
            loss=dict(type='FrequencyAttentionLoss', low=1.0, high=0.0, cutoff=0.5),
            weight=0.3,
        ),
        decoder=dict(
            student='backbone[2]',
            teacher='decode_head.fusion_conv',
            loss=dict(type='FrequencyAttentionLoss', low=0.0, high=1.0, cutoff=0.25),
            weight=0.3,
        ),
    ),
)
