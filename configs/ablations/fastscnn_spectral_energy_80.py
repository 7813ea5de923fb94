_base_ = '../segformer_fastscnn_spectral.py'
model = dict(distill=dict(objects=dict(loss=dict(energy=0.8))))
