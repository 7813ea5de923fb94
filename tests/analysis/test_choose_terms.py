"""Terms for a pair of networks: pairs by stride, adapters by channels, logits by classes."""

from dataclasses import replace

import pytest

from mmkd.analysis.choose_terms import METHODS, STRONG_SHARE, WEAK_SHARE, Networks, choose_terms
from mmkd.analysis.feature_survey import Feature
from mmkd.errors import UserError


def feature(tap: str, stride: float, channels: int = 64, variation: float = 0.5) -> Feature:
    return Feature(tap, channels, (int(256 / stride), int(256 / stride)), stride, variation)


FAST_SCNN = [
    feature('backbone[0]', 8),
    feature('backbone[1]', 32, 128),
    feature('backbone[2]', 8, 128),
]
BLANK = [feature(f'backbone[{i}]', 4 * 2**i, 32 * 2**i, 0.001) for i in range(4)]
INNER = [feature('decode_head.convs.3', 32, 256), feature('decode_head.fusion_conv', 4, 256)]
PAIR = Networks(FAST_SCNN, BLANK, INNER, logits=('decode_head', 'decode_head'), same_classes=True)


def taps(choice) -> dict[str, tuple[str, str]]:
    return {name: (term['student'], term['teacher']) for name, term in choice.terms.items()}


def test_auto_pairs_equal_strides_and_logits():
    assert taps(choose_terms(PAIR)) == {
        'stride_8': ('backbone[0]', 'backbone[1]'),
        'stride_8_2': ('backbone[2]', 'backbone[1]'),
        'stride_32': ('backbone[1]', 'backbone[3]'),
        'logits': ('decode_head', 'decode_head'),
    }


def test_auto_puts_adapters_only_where_channels_differ():
    terms = choose_terms(PAIR).terms
    assert [name for name, term in terms.items() if 'adapter' in term] == [
        'stride_8_2',
        'stride_32',
    ]


def shares(networks, method) -> list[float]:
    return [term['weight']['share'] for term in choose_terms(networks, method).terms.values()]


@pytest.mark.parametrize('method, count', [('auto', 4), ('features', 3), ('logits', 1)])
def test_terms_of_two_segmentors_are_strong_each(method, count):
    assert shares(PAIR, method) == [STRONG_SHARE] * count


def test_attention_and_detectors_get_weak_terms_together():
    detectors = replace(PAIR, logits=None)
    for found in shares(PAIR, 'at'), shares(PAIR, 'spectral'), shares(detectors, 'auto'):
        assert sum(found) == pytest.approx(WEAK_SHARE, abs=0.002)


def test_attention_skips_constant_maps_and_says_so():
    choice = choose_terms(PAIR, 'at')
    assert taps(choice)['stride_32'] == ('backbone[1]', 'decode_head.convs.3')
    assert taps(choice)['stride_8'] == ('backbone[0]', 'decode_head.fusion_conv')
    assert "the teacher's backbone[3] is not used: its attention map is constant" in choice.reasons
    assert all(term['loss']['type'] == 'ActivationATLoss' for term in choice.terms.values())


def test_attention_of_a_blank_student_stage_is_taken_from_the_last_blocks_of_its_stride():
    inner = [feature(f'backbone.layers.{i}.blocks', 4 * 2**j, 8) for j in range(2) for i in (j, 4)]
    teacher = [feature(f'backbone[{i}]', 4 * 2**i, 64) for i in range(2)]
    choice = choose_terms(Networks(BLANK[:2], teacher, student_inner=inner), 'at')
    assert taps(choice) == {
        'stride_4': ('backbone.layers.4.blocks', 'backbone[0]'),
        'stride_8': ('backbone.layers.4.blocks', 'backbone[1]'),
    }
    assert 'backbone[0] is not used: its attention map is constant' in choice.reasons


def test_blocks_of_a_student_are_taken_once():
    inner = [feature('backbone.blocks', 4, 8)]
    choice = choose_terms(Networks([BLANK[0], BLANK[0]], INNER, student_inner=inner), 'freq')
    assert taps(choice) == {'stride_4': ('backbone.blocks', 'decode_head.fusion_conv')}


def test_attention_without_any_map_says_which_maps_are_constant():
    with pytest.raises(UserError, match=r'; backbone\[3\] is not used: .* constant; write the'):
        choose_terms(Networks(BLANK, BLANK), 'at')


def test_frequency_gives_high_bands_to_fine_and_low_bands_to_coarse_stages():
    terms = choose_terms(PAIR, 'freq').terms
    bands = {name: (term['loss']['low'], term['loss']['high']) for name, term in terms.items()}
    assert bands == dict(stride_8=(0.0, 1.0), stride_8_2=(0.0, 1.0), stride_32=(1.0, 0.0))


def test_spectral_takes_the_coarsest_pair_only():
    assert taps(choose_terms(PAIR, 'spectral')) == {'stride_32': ('backbone[1]', 'backbone[3]')}


def test_auto_other_classes_leave_logits_out():
    pair = Networks(FAST_SCNN, BLANK, logits=('decode_head', 'decode_head'))
    choice = choose_terms(pair)
    assert 'logits' not in choice.terms
    assert 'logits are not compared: student and teacher have other classes' in choice.reasons


def test_stride_twice_as_large_is_paired_and_four_times_is_not():
    teacher = [feature('backbone[0]', 16)]
    assert taps(choose_terms(Networks([feature('backbone', 8)], teacher))) == {
        'stride_8': ('backbone', 'backbone[0]')
    }
    with pytest.raises(UserError, match='the student has backbone at 4, the teacher backbone'):
        choose_terms(Networks([feature('backbone', 4)], teacher))


def test_frs_takes_levels_and_scores():
    levels, scores = ['neck[0]', 'neck[1]'], ['bbox_head[0][0]', 'bbox_head[0][1]']
    term = choose_terms(Networks([], [], scores=(levels, scores)), 'frs').terms['richness']
    assert (term['student'], term['loss_inputs']) == (levels, dict(scores=scores))


@pytest.mark.parametrize(
    'method, message',
    [
        ('frs', '--method=frs: expected two detectors'),
        ('logits', '--method=logits: logits are not compared: expected two segmentors'),
        ('magic', '--method=magic: expected one of ' + ', '.join(METHODS)),
    ],
)
def test_choose_terms_impossible_method_is_an_error(method, message):
    with pytest.raises(UserError, match=message):
        choose_terms(Networks(FAST_SCNN, BLANK), method)


def test_choose_terms_name_of_a_stride_below_one_is_an_identifier():
    finer = [feature('neck[0]', 0.5)]
    choice = choose_terms(Networks(finer, finer), 'features')
    assert list(choice.terms) == ['stride_0_5']
