_base_ = '../segformer_vmamba_freq.py'
# High frequencies at three stages, low ones at one.
model = dict(distill=dict(stage3=dict(loss=dict(low=0.0, high=1.0))))
