# Frequency attention, "basic", beside normalised features and logits.
_base_ = '../efficientnet_fastscnn_pkd_camvid_new_street.py'
model = dict(
    distill=dict(
        low=dict(
            student='backbone[1]',
            teacher='backbone[3]',
            loss=dict(type='FrequencyAttentionLoss', low=1.0, high=0.0, cutoff=0.5),
            weight=dict(type='gradient_share', share=0.5),
        ),
        high=dict(
            student='backbone[2]',
            teacher='decode_head.fusion_conv',
            loss=dict(type='FrequencyAttentionLoss', low=0.0, high=1.0, cutoff=0.25),
            weight=dict(type='gradient_share', share=0.5),
        ),
    ),
)
