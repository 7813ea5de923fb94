_base_ = '../segformer_vmamba_freq.py'
# Only the student's features are filtered.
one_side = dict(loss=dict(filter_on='student'))
model = dict(distill=dict(stage1=one_side, stage2=one_side, stage3=one_side, stage4=one_side))
