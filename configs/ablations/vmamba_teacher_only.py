_base_ = '../segformer_vmamba_freq.py'
# Only the teacher's features are filtered.
one_side = dict(loss=dict(filter_on='teacher'))
model = dict(distill=dict(stage1=one_side, stage2=one_side, stage3=one_side, stage4=one_side))
