_base_ = '../segformer_fastscnn_spectral.py'
# The student's graphs are learned beside its feature.
learned = dict(loss=dict(affinity=dict(type='QueryKeyAffinity')))
model = dict(distill=dict(objects=learned, spectrum=learned))
