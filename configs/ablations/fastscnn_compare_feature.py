_base_ = '../segformer_fastscnn_freq.py'
# The filtered features themselves are compared, not their attention maps.
feature = dict(loss=dict(compare='feature'), adapter=dict(type='Conv2d', kernel_size=1), weight=3.0)
model = dict(distill=dict(encoder=feature, decoder=feature))
