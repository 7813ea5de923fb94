_base_ = '../segformer_fastscnn_freq.py'
# mmkd sets each weight, so that the term's gradient stays at 0.2 of the task's.
share = dict(weight=dict(_delete_=True, type='gradient_share', share=0.2))
model = dict(distill=dict(encoder=share, decoder=share))
