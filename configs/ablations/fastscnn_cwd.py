_base_ = './fastscnn_kd.py'
# The positions of every class, instead of the class of every pixel.
# The paper's temperature.
model = dict(distill=dict(logits=dict(loss=dict(type='CWDLoss', tau=4.0))))
