_base_ = './fastscnn_fam.py'
logits = dict(
    student='decode_head.conv_seg',
    teacher='decode_head.conv_seg',
    loss=dict(type='LogitKDLoss', tau=1.0),
)
model = dict(distill=dict(logits=logits))
