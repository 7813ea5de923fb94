_base_ = '../segformer_vmamba_spectral.py'
# The graph of the output of the same stage, by cosines.
graph = dict(
    student='backbone.layers.2.blocks',
    loss=dict(affinity=dict(_delete_=True, type='SimilarityAffinity')),
)
model = dict(distill=dict(objects=graph, spectrum=graph))
