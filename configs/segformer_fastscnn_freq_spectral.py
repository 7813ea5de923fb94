_base_ = ['./segformer_fastscnn_freq.py', '_base_/distillers/spectral_terms.py']
# Frequency attention and spectral attention graphs together.
model = dict(distill=_base_.spectral_terms)
