# Feature richness (Du et al., NeurIPS 2021) on a pyramid of five levels and the class scores of a
# one-stage head. A leaf sets the two weights.
warm_up = dict(type='linear_warmup', begin=0, end=500)
pyramid = ['neck[0]', 'neck[1]', 'neck[2]', 'neck[3]', 'neck[4]']
scores = [f'bbox_head[0][{level}]' for level in range(5)]
distill = dict(
    feature=dict(
        student=pyramid,
        teacher=pyramid,
        loss_inputs=dict(scores=scores),
        adapter=dict(type='Conv2d', kernel_size=3, padding=1),
        loss=dict(type='FRSFeatureLoss'),
        schedule=warm_up,
    ),
    head=dict(student=scores, teacher=scores, loss=dict(type='FRSHeadLoss'), schedule=warm_up),
)
