_base_ = '../segformer_fastscnn_freq.py'
# Only the teacher's features are filtered.
model = dict(
    distill=dict(
        encoder=dict(loss=dict(filter_on='teacher')), decoder=dict(loss=dict(filter_on='teacher'))
    )
)
