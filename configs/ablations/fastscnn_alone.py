_base_ = '../students/fast_scnn_streets.py'
# No teacher: the baseline of every other variant.
