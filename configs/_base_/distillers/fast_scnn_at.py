# Fast-SCNN under the whole objective of attention transfer: the task, plus beta times the distance
# of attention maps at the encoder's end and at the decoder's start, plus alpha times the distance
# of class probabilities. beta decays, so the student ends on its own task and the logits. A leaf
# adds the teacher, any SegFormer of MMSegmentation, and the iteration at which beta is 0.
#
# The taps are those of fast_scnn_freq.py, for the reasons given there.
_base_ = '../models/fast_scnn.py'
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    distill=dict(
        attention=dict(
            student=['backbone[1]', 'backbone[2]'],
            teacher=['decode_head.convs.3', 'decode_head.fusion_conv'],
            loss=dict(type='ActivationATLoss'),
            weight=1.0,  # beta
            schedule=dict(type='cosine_decay', begin=0),
        ),
        logits=dict(
            student='decode_head.conv_seg',
            teacher='decode_head.conv_seg',
            loss=dict(type='LogitKDLoss', tau=1.0),
            weight=1.0,  # alpha
        ),
    ),
)
