_base_ = '../students/fast_scnn_camvid_pretrained.py'
# No teacher: what every other variant is compared with.
