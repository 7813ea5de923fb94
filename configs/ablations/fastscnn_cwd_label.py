_base_ = './fastscnn_cwd.py'
# The positions of every class, at the label's resolution.
model = dict(distill=dict(logits=dict(loss=dict(resolution='label'))))
