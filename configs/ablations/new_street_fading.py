# The features fade after two fifths of the training; the logits stay.
_base_ = './new_street_share_90.py'
fading = dict(schedule=dict(type='cosine_decay', begin=792, end=1980))
model = dict(distill=dict(detail=fading, context_16=fading, context_32=fading, fusion=fading))
