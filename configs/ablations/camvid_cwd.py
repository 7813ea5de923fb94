_base_ = './camvid_kd.py'
# Where every class is, in place of what every pixel is.
# Temperature and weight are its paper's.
model = dict(distill=dict(logits=dict(loss=dict(type='CWDLoss', tau=4.0), weight=3.0)))
