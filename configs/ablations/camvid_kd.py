_base_ = '../segformer_fastscnn_at_camvid_pretrained.py'
# Class probabilities alone.
model = dict(distill=dict(attention=None))
