_base_ = '../segformer_fastscnn_spectral.py'
# Only the heads with large leading eigenvalues.
select = dict(loss=dict(heads='select'))
model = dict(distill=dict(objects=select, spectrum=select))
