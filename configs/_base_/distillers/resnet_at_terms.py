# The whole objective of attention transfer for a classifier: the task, plus beta times the distance
# of attention maps behind three stages, plus alpha times the distance of class probabilities
# (Hinton et al., tau=4). beta decays, so the student ends on its own task and the logits. A leaf
# adds the networks, and the iteration at which beta is 0. `gradient` is the other form of attention
# transfer, for a leaf that has it in place of these terms.
stages = ['backbone.layer2', 'backbone.layer3', 'backbone.layer4']
distill = dict(
    attention=dict(
        student=stages,
        teacher=stages,
        loss=dict(type='ActivationATLoss'),
        weight=1.0,  # beta
        schedule=dict(type='cosine_decay', begin=0),
    ),
    logits=dict(
        student='head.fc',
        teacher='head.fc',
        loss=dict(type='LogitKDLoss', tau=4.0),
        weight=1.0,  # alpha
    ),
)
gradient = dict(
    student='input_gradient',
    teacher='input_gradient',
    loss=dict(type='GradientATLoss'),
    weight=0.1,
)
