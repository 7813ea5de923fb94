_base_ = '../segformer_vmamba_freq.py'
# Both bands at every stage, in equal shares.
ratio = dict(loss=dict(low=0.5, high=0.5))
model = dict(distill=dict(stage1=ratio, stage2=ratio, stage3=ratio, stage4=ratio))
