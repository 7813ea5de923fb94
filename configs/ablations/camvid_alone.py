_base_ = '../students/fast_scnn_camvid_pretrained.py'
# No teacher: the baseline of every other variant.
