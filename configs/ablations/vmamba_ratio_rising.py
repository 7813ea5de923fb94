_base_ = '../segformer_vmamba_freq.py'
# Both bands at every stage; the low one's share rises with depth: 0.2, 0.4, 0.6, 0.8.
stage1, stage2, stage3, stage4 = (
    dict(loss=dict(low=x, high=1.0 - x)) for x in (0.2, 0.4, 0.6, 0.8)
)
model = dict(distill=dict(stage1=stage1, stage2=stage2, stage3=stage3, stage4=stage4))
