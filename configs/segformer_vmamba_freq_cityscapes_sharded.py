# For a teacher too large for one GPU: each process keeps a part of the weights (docs/clusters.md).
_base_ = './segformer_vmamba_freq_cityscapes.py'
model = dict(teacher=dict(shard=True))
# One process draws the pictures, but a sharded teacher runs in all of them.
default_hooks = dict(visualization=None)
