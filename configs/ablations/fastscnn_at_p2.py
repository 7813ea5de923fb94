_base_ = '../segformer_fastscnn_at.py'
# Only attention maps, with a constant weight.
model = dict(distill=dict(attention=dict(schedule=None), logits=None))
