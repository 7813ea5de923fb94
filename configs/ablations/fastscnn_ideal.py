_base_ = '../segformer_fastscnn_freq.py'
# Ideal filters where the recipe has Gaussian ones.
shape = dict(loss=dict(filter='ideal'))
model = dict(distill=dict(encoder=shape, decoder=shape))
