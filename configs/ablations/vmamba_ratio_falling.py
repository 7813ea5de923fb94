_base_ = '../segformer_vmamba_freq.py'
# Both bands at every stage; the low one's share falls with depth: 0.8, 0.6, 0.4, 0.2.
stage1, stage2, stage3, stage4 = (
    dict(loss=dict(low=x, high=1.0 - x)) for x in (0.8, 0.6, 0.4, 0.2)
)
model = dict(distill=dict(stage1=stage1, stage2=stage2, stage3=stage3, stage4=stage4))
