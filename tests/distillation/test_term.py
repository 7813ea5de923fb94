"""Which taps a term gives to which loss."""

import pytest

from mmkd.distillation.term import build_term
from mmkd.errors import UserError

ATTENTION = 'attention(backbone.layers.3.1.1.attn)'
GRAPH = dict(type='SpectralGraphLoss', affinity=dict(type='SimilarityAffinity'))


@pytest.mark.parametrize('side', ['student', 'teacher'])
@pytest.mark.parametrize(
    'loss',
    [
        dict(type='ActivationATLoss'),
        dict(type='CWDLoss'),
        dict(type='FAMLoss'),
        dict(type='FeatureMSELoss'),
        dict(type='FRSHeadLoss'),
        dict(type='FrequencyAttentionLoss', low=1.0, high=1.0, cutoff=0.25),
        dict(type='LogitKDLoss'),
        dict(type='PKDLoss'),
    ],
    ids=lambda loss: loss['type'],
)
def test_term_attention_given_to_a_loss_of_features_is_rejected(loss, side):
    taps = dict(dict(student='backbone[0]', teacher='backbone[0]'), **{side: ATTENTION})
    with pytest.raises(UserError) as error:
        build_term('blocks', dict(taps, loss=loss))
    assert str(error.value).startswith(
        f"model.distill.blocks: {side} tap '{ATTENTION}': expected a feature, which {loss['type']}"
    )


@pytest.mark.parametrize('loss', [dict(type='SpectrumLoss'), GRAPH], ids=lambda loss: loss['type'])
def test_term_attention_given_to_a_loss_of_attention_is_accepted(loss):
    term = build_term('blocks', dict(student=ATTENTION, teacher=ATTENTION, loss=loss))
    assert term.compared_taps[0].reads_attention


def test_term_adapter_for_a_student_attention_is_rejected():
    taps = dict(student=ATTENTION, teacher=ATTENTION, loss=GRAPH)
    with pytest.raises(UserError, match='adapter=.*: expected none with the student tap'):
        build_term('blocks', dict(taps, adapter=dict(type='Conv2d', kernel_size=1)))
    build_term('blocks', dict(taps, teacher='backbone[0]', adapter=None))
