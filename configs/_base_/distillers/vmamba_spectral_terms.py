# The student's graph is what the last scan of its stage 3 draws from: its own attention, at the
# teacher's stride. A scan's steps answer to a small change by far, so the weights are small: each
# term has about a fifth of the task's gradient in a fresh student's backbone.
_base_ = './spectral_terms.py'
scan = dict(
    student='attention(backbone.layers.2.blocks.5.op.scan)',
    loss=dict(affinity=dict(type='MambaStateAffinity')),
)
spectral_terms = dict(objects=dict(scan, weight=0.06), spectrum=dict(scan, weight=0.04))
