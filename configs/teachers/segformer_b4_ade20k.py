_base_ = 'mmseg::segformer/segformer_mit-b4_8xb2-160k_ade20k-512x512.py'
