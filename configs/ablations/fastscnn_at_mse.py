_base_ = './fastscnn_at_p2.py'
# The distance in the authors' code.
model = dict(distill=dict(attention=dict(loss=dict(distance='mse'), weight=20.0)))
