_base_ = '../segformer_fastscnn_at.py'
# Class probabilities alone.
model = dict(distill=dict(attention=None))
