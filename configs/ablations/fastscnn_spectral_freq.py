_base_ = '../segformer_fastscnn_freq_spectral.py'
