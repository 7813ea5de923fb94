_base_ = './fastscnn_at_p2.py'
# The distance of the authors' own code.
model = dict(distill=dict(attention=dict(loss=dict(distance='mse'), weight=20.0)))
