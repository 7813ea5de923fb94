# Feature richness by the scores of the region proposal network, which say where any object is.
_base_ = './frs_one_stage.py'
scores = [f'rpn_head[0][{level}]' for level in range(5)]
distill = dict(
    feature=dict(loss_inputs=dict(scores=scores)), head=dict(student=scores, teacher=scores)
)
