_base_ = '../segformer_fastscnn_freq.py'
# A share of 0.25 of the low band and 0.75 of the high band, at both places.
ratio = dict(loss=dict(low=0.25, high=0.75))
model = dict(distill=dict(encoder=ratio, decoder=ratio))
