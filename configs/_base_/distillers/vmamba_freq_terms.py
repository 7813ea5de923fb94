# Frequency attention stage by stage, "basic": high frequencies, borders and detail, at strides 4
# and 8; low frequencies, the layout of the scene, at strides 16 and 32.
#
# Both networks' stages end in a LayerNorm, after which the sum of squares over channels is the same
# at every position and an attention map is blank. The student's is therefore read before it, after
# the stage's blocks, and the teacher's after the decode head's 1x1 convolution of the stage
# (docs/methods.md).
high = dict(type='FrequencyAttentionLoss', low=0.0, high=1.0, cutoff=0.25)
low = dict(type='FrequencyAttentionLoss', low=1.0, high=0.0, cutoff=0.5)
distill = {
    f'stage{i + 1}': dict(
        student=f'backbone.layers.{i}.blocks',
        teacher=f'decode_head.convs.{i}',
        loss=loss,
        weight=0.1,
    )
    for i, loss in enumerate([high, high, low, low])
}
