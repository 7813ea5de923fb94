_base_ = '../segformer_vmamba_freq.py'
# Low frequencies at strides 4 and 8, high ones at 16 and 32.
low, high = (dict(loss=dict(low=x, high=1.0 - x)) for x in (1.0, 0.0))
model = dict(distill=dict(stage1=low, stage2=low, stage3=high, stage4=high))
