# Frequency attention, "basic", beside normalised features and logits. Its four terms together have
# as large a gradient as the labels.
_base_ = '../efficientnet_vmamba_pkd.py'
high = dict(type='FrequencyAttentionLoss', low=0.0, high=1.0, cutoff=0.25)
low = dict(type='FrequencyAttentionLoss', low=1.0, high=0.0, cutoff=0.5)
model = dict(
    distill={
        f'bands{i + 1}': dict(
            student=f'backbone.layers.{i}.blocks',  # before the LayerNorm, after which it is blank
            teacher=f'decode_head.convs.{i}',
            loss=loss,
            weight=dict(type='gradient_share', share=0.25),
        )
        for i, loss in enumerate([high, high, low, low])
    },
)
