_base_ = '../segformer_fastscnn_spectral.py'
