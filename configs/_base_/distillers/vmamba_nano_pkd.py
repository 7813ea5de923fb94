# VMamba-nano under normalised features at each of its stages, and logits. A leaf adds the teacher,
# an EfficientNet.
_base_ = '../models/vmamba_nano.py'
feature = dict(loss=dict(type='PKDLoss'), adapter=dict(type='Conv2d', kernel_size=1), weight=4.0)
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill=dict(
        stage1=dict(feature, student='backbone[0]', teacher='backbone[0]'),
        stage2=dict(feature, student='backbone[1]', teacher='backbone[1]'),
        stage3=dict(feature, student='backbone[2]', teacher='backbone[2]'),
        stage4=dict(feature, student='backbone[3]', teacher='backbone[3]'),
        logits=dict(
            student='decode_head',
            teacher='decode_head',
            loss=dict(type='LogitKDLoss', tau=1.0),
        ),
    ),
)
