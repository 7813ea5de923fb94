_base_ = '../segformer_vmamba_freq_spectral.py'
