_base_ = '../students/fast_scnn_streets.py'
# No teacher: what every other variant is compared with.
