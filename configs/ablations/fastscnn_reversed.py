_base_ = '../segformer_fastscnn_freq.py'
# High frequencies at the encoder, there at half the weight, and low ones at the decoder.
model = dict(
    distill=dict(
        encoder=dict(loss=dict(low=0.0, high=1.0), weight=0.15),
        decoder=dict(loss=dict(low=1.0, high=0.0)),
    )
)
