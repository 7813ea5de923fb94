# Normalised features at each of four stages, and logits, for a student and a teacher whose stages
# have strides 4 to 32.
feature = dict(loss=dict(type='PKDLoss'), adapter=dict(type='Conv2d', kernel_size=1), weight=4.0)
distill = {
    f'stage{i + 1}': dict(feature, student=f'backbone[{i}]', teacher=f'backbone[{i}]')
    for i in range(4)
}
distill['logits'] = dict(
    student='decode_head', teacher='decode_head', loss=dict(type='LogitKDLoss', tau=1.0)
)
