_base_ = '../segformer_fastscnn_freq.py'
# A learned filter at both places.
fam = dict(loss=dict(_delete_=True, type='FAMLoss'), weight=3.0)
model = dict(distill=dict(encoder=fam, decoder=fam))
