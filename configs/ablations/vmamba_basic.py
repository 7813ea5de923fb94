_base_ = '../segformer_vmamba_freq.py'
