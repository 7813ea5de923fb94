_base_ = '../segformer_fastscnn_at_camvid_pretrained.py'
