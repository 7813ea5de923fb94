# The relations that SegFormer draws between patches, for a student without attention.
#
# Stage 3 of the teacher, in its last block: there, patches that attend to the same places belong to
# one object; stage 4's attention gathers on a few patches and shows none (docs/methods.md). Each
# weight gives a term about a fifth of the task's gradient.
objects = dict(
    student='backbone[2]',
    teacher='attention(backbone.layers.2.1.1.attn)',
    loss=dict(type='SpectralGraphLoss'),
    weight=3.0,
)
spectral_terms = dict(
    objects=objects, spectrum=dict(objects, loss=dict(type='SpectrumLoss'), weight=1.0)
)
