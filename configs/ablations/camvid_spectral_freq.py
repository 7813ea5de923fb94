_base_ = [
    '../segformer_fastscnn_freq_camvid_pretrained.py',
    '../_base_/distillers/spectral_terms.py',
]
model = dict(distill=_base_.spectral_terms)
