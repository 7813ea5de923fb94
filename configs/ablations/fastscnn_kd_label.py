_base_ = './fastscnn_kd.py'
# Class probabilities at the label's resolution, as the task's loss compares them.
model = dict(distill=dict(logits=dict(loss=dict(resolution='label'))))
