_base_ = '../segformer_fastscnn_freq.py'
gradient = dict(
    student='input_gradient',
    teacher='input_gradient',
    loss=dict(type='GradientATLoss'),
    weight=0.001,
)
model = dict(distill=dict(_delete_=True, gradient=gradient))
