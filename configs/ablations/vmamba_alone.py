_base_ = '../students/vmamba_nano_streets.py'
# No teacher: the baseline of every other variant.
