_base_ = '../segformer_fastscnn_at_camvid_pretrained.py'
# Only attention maps, with a constant weight.
model = dict(distill=dict(attention=dict(schedule=None), logits=None))
