_base_ = './fastscnn_at_p2.py'
# The strongest channel's square in place of the sum of squares.
model = dict(distill=dict(attention=dict(loss=dict(mapping='max'))))
