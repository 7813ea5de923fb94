_base_ = '../segformer_fastscnn_spectral.py'
model = dict(distill=dict(objects=dict(loss=dict(gamma=1.0))))
