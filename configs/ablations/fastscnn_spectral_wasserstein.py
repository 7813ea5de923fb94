_base_ = '../segformer_fastscnn_spectral.py'
model = dict(distill=dict(spectrum=dict(loss=dict(distance='wasserstein'))))
