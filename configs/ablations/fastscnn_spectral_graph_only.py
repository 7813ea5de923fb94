_base_ = '../segformer_fastscnn_spectral.py'
model = dict(distill=dict(spectrum=None))
