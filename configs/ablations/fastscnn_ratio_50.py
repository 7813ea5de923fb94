_base_ = '../segformer_fastscnn_freq.py'
# A share of 0.5 of the low band and 0.5 of the high band, at both places.
ratio = dict(loss=dict(low=0.5, high=0.5))
model = dict(distill=dict(encoder=ratio, decoder=ratio))
