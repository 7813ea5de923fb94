_base_ = '../segformer_fastscnn_freq.py'
