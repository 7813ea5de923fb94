_base_ = '../students/vmamba_nano_streets.py'
# No teacher: what every other variant is compared with.
