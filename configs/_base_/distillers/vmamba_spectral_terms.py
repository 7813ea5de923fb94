# The student's graph is what the last scan of its stage 3 draws from: its own attention, at the
# teacher's stride.
_base_ = './spectral_terms.py'
scan = dict(
    student='attention(backbone.layers.2.blocks.5.op.scan)',
    loss=dict(affinity=dict(type='MambaStateAffinity')),
)
spectral_terms = dict(objects=scan, spectrum=scan)
