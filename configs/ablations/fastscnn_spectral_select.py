_base_ = '../segformer_fastscnn_spectral.py'
# Only the heads that know of objects.
select = dict(loss=dict(heads='select'))
model = dict(distill=dict(objects=select, spectrum=select))
