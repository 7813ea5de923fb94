_base_ = './camvid_reversed.py'
# And features through a learned filter, at the same two places.
fam = dict(loss=dict(type='FAMLoss'), weight=3.0)
encoder = dict(student='backbone[1]', teacher='decode_head.convs.3')
decoder = dict(student='backbone[2]', teacher='decode_head.fusion_conv')
model = dict(distill=dict(encoder_fam=fam | encoder, decoder_fam=fam | decoder))
