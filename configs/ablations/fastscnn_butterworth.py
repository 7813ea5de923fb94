_base_ = '../segformer_fastscnn_freq.py'
# Butterworth instead of Gaussian filters.
shape = dict(loss=dict(filter='butterworth'))
model = dict(distill=dict(encoder=shape, decoder=shape))
