_base_ = '../segformer_fastscnn_freq.py'
# The one-channel attention maps are filtered, not the features.
order = dict(loss=dict(order='attend_first'))
model = dict(distill=dict(encoder=order, decoder=order))
