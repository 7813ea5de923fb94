_base_ = './camvid_spectral_freq.py'
model = dict(distill=dict(encoder=None, decoder=None))
