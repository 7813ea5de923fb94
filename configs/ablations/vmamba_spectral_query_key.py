_base_ = '../segformer_vmamba_spectral.py'
# The graph of the output of the same stage, learned beside it.
graph = dict(
    student='backbone.layers.2.blocks',
    loss=dict(affinity=dict(_delete_=True, type='QueryKeyAffinity')),
)
model = dict(distill=dict(objects=graph, spectrum=graph))
