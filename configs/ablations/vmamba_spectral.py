_base_ = '../segformer_vmamba_spectral.py'
