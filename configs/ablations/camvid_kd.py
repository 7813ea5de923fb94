_base_ = '../segformer_fastscnn_at_camvid_pretrained.py'
# Only class probabilities.
model = dict(distill=dict(attention=None))
