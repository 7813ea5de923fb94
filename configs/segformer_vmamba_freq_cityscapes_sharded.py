# For a teacher too big for one GPU: each process keeps its part of the weights (docs/clusters.md).
_base_ = './segformer_vmamba_freq_cityscapes.py'
model = dict(teacher=dict(shard=True))
# Pictures are drawn by one process, and a teacher in parts runs in all of them.
default_hooks = dict(visualization=None)
