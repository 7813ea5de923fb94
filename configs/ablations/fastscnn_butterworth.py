_base_ = '../segformer_fastscnn_freq.py'
# Butterworth filters where the recipe has Gaussian ones.
shape = dict(loss=dict(filter='butterworth'))
model = dict(distill=dict(encoder=shape, decoder=shape))
