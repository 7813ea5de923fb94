_base_ = './fastscnn_at_p2.py'
# The square of the strongest channel instead of the sum of squares.
model = dict(distill=dict(attention=dict(loss=dict(mapping='max'))))
