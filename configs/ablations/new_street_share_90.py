# Each term's gradient stays at 0.9 of the task's, where the base has constant weights.
_base_ = '../efficientnet_fastscnn_pkd_camvid_new_street.py'
share = dict(type='gradient_share', share=0.9)
feature = dict(weight=dict(share, _delete_=True))
model = dict(
    distill=dict(
        detail=feature,
        context_16=feature,
        context_32=feature,
        fusion=feature,
        logits=dict(weight=share),
    ),
)
