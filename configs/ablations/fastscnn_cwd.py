_base_ = './fastscnn_kd.py'
# Where every class is, in place of what every pixel is.
# The temperature is its paper's.
model = dict(distill=dict(logits=dict(loss=dict(type='CWDLoss', tau=4.0))))
