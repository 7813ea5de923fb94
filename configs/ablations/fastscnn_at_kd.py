_base_ = '../segformer_fastscnn_at.py'
