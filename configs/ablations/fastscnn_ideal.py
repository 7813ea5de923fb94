_base_ = '../segformer_fastscnn_freq.py'
# Ideal instead of Gaussian filters.
shape = dict(loss=dict(filter='ideal'))
model = dict(distill=dict(encoder=shape, decoder=shape))
