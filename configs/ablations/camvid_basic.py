_base_ = '../segformer_fastscnn_freq_camvid_pretrained.py'
