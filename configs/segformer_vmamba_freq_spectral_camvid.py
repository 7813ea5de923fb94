_base_ = ['./segformer_vmamba_freq_camvid.py', '_base_/distillers/vmamba_spectral_terms.py']
# Frequency attention and spectral attention graphs together.
model = dict(distill=_base_.spectral_terms)
