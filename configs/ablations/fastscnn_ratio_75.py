_base_ = '../segformer_fastscnn_freq.py'
# A share of 0.75 of the low band and 0.25 of the high band, at both places.
ratio = dict(loss=dict(low=0.75, high=0.25))
model = dict(distill=dict(encoder=ratio, decoder=ratio))
