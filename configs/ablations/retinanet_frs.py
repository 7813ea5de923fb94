# Squared differences where the teacher sees objects, in place of normalised features.
_base_ = '../yolo11s_retinanet_r18half_pkd_bccd.py'
pyramid = ['neck[0]', 'neck[1]', 'neck[2]']
model = dict(
    distill=dict(
        _delete_=True,
        feature=dict(
            student=pyramid,
            teacher=pyramid,
            loss_inputs=dict(scores=['bbox_head[0][0]', 'bbox_head[0][1]', 'bbox_head[0][2]']),
            adapter=dict(type='Conv2d', kernel_size=3, padding=1),
            loss=dict(type='FRSFeatureLoss'),
            weight=dict(type='gradient_share', share=0.5),
        ),
    ),
)
