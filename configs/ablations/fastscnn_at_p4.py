_base_ = './fastscnn_at_p2.py'
model = dict(distill=dict(attention=dict(loss=dict(p=4))))
