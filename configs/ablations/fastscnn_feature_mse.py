_base_ = '../segformer_fastscnn_freq.py'
# The teacher's features themselves, at both places.
feature = dict(
    loss=dict(_delete_=True, type='FeatureMSELoss'),
    adapter=dict(type='Conv2d', kernel_size=1),
    weight=2.0,
)
model = dict(distill=dict(encoder=feature, decoder=feature))
