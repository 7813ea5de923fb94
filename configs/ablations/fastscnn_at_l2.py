_base_ = './fastscnn_at_p2.py'
# A norm for every image in place of one for the batch.
model = dict(distill=dict(attention=dict(loss=dict(distance='l2'), weight=0.3)))
