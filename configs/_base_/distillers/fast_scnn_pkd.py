# Fast-SCNN under the plain features of an EfficientNet with SegFormer's head, each channel
# normalised, and under its logits. A leaf adds the teacher.
#
# The student's last stage, at 1/32, learns from the teacher's at 1/16 and at 1/32. PKDLoss is half
# the mean squared difference of normalised features, so 16 stands for a weight of 8 on that.
_base_ = '../models/fast_scnn.py'
feature = dict(loss=dict(type='PKDLoss'), adapter=dict(type='Conv2d', kernel_size=1), weight=16.0)
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill=dict(
        detail=dict(feature, student='backbone[0]', teacher='backbone[1]'),
        context_16=dict(feature, student='backbone[1]', teacher='backbone[2]'),
        context_32=dict(feature, student='backbone[1]', teacher='backbone[3]'),
        fusion=dict(feature, student='backbone[2]', teacher='decode_head.fusion_conv'),
        logits=dict(
            student='decode_head',
            teacher='decode_head',
            loss=dict(type='LogitKDLoss', tau=1.0),
        ),
    ),
)
