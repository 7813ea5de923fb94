_base_ = '../segformer_vmamba_freq.py'
# High frequencies at one stage, low ones at three.
model = dict(distill=dict(stage2=dict(loss=dict(low=1.0, high=0.0))))
