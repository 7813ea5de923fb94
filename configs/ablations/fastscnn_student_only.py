_base_ = '../segformer_fastscnn_freq.py'
# Only the student's features are filtered.
model = dict(
    distill=dict(
        encoder=dict(loss=dict(filter_on='student')), decoder=dict(loss=dict(filter_on='student'))
    )
)
