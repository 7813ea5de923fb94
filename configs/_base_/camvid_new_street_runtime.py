# The images of camvid_192x256_new_street.py that train without their labels.
_base_ = './camvid_unlabelled_runtime.py'
default_hooks = dict(unlabelled=dict(dataset=dict(sequences=['0006R0'], indices=list(range(50)))))
