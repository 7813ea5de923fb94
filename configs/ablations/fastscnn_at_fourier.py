_base_ = './fastscnn_at_p2.py'
# Maps meet at one resolution in the spectrum.
model = dict(distill=dict(attention=dict(loss=dict(resize='fourier'))))
