_base_ = '../segformer_fastscnn_freq.py'
# The bands meet at 0.25 of Nyquist, at both places.
cutoff = dict(loss=dict(cutoff=0.25))
model = dict(distill=dict(encoder=cutoff, decoder=cutoff))
