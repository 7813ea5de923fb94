_base_ = './camvid_kd.py'
# Where every class is, in place of what every pixel is.
model = dict(distill=dict(logits=dict(loss=dict(type='CWDLoss'))))
