_base_ = './camvid_kd.py'
# The positions of every class, instead of the class of every pixel.
# The paper's temperature and weight.
model = dict(distill=dict(logits=dict(loss=dict(type='CWDLoss', tau=4.0), weight=3.0)))
