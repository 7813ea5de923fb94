_base_ = '../segformer_fastscnn_at.py'
# Attention maps alone, their weight constant.
model = dict(distill=dict(attention=dict(schedule=None), logits=None))
