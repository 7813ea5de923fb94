_base_ = '../segformer_fastscnn_at_camvid_pretrained.py'
# Attention maps alone, their weight constant.
model = dict(distill=dict(attention=dict(schedule=None), logits=None))
