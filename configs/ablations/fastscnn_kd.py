_base_ = '../segformer_fastscnn_at.py'
# Only class probabilities.
model = dict(distill=dict(attention=None))
