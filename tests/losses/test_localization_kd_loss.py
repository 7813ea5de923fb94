"""LocalizationKDLoss over the levels of a pyramid, and in YOLO11."""

import math

import pytest
import torch
from mmengine.registry import DefaultScope
from torch.nn import functional

from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.losses import LocalizationKDLoss
from mmkd.openmmlab.samples import blank_samples
from mmkd.registry import MODELS

SIZES = [(8, 12), (4, 6), (1, 1)]
BINS = 5


def pyramid(channels, seed):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, channels, *size, generator=g).double() for size in SIZES)


@pytest.fixture
def sides():
    """Box logits of student and teacher, and the teacher's scores of three classes."""
    return pyramid(4 * BINS, 0), pyramid(4 * BINS, 1), pyramid(3, 2)


@pytest.mark.parametrize('tau', [1.0, 10.0])
def test_localization_kd_loss_levels_are_summed_as_documented(sides, tau):
    expected = 0.0
    for student, teacher, scores in zip(*sides, strict=True):
        weights = scores.sigmoid().amax(1)
        total = 0.0
        for side in range(4):
            bins = slice(BINS * side, BINS * (side + 1))
            divergence = functional.kl_div(
                (student[:, bins] / tau).log_softmax(1),
                (teacher[:, bins] / tau).softmax(1),
                reduction='none',
            ).sum(1)
            total += (weights * tau**2 * divergence).sum() / 4
        expected += total / weights.sum()
    torch.testing.assert_close(LocalizationKDLoss(tau)(*sides), expected, rtol=1e-12, atol=0)


def test_localization_kd_loss_of_one_side_by_hand():
    """A side of two bins, teacher 3 to 1 and student even; the other sides agree."""
    teacher, student = torch.zeros(1, 8, 1, 1), torch.zeros(1, 8, 1, 1)
    teacher[0, 4] = math.log(3)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    value = LocalizationKDLoss(tau=1.0)(student, teacher, torch.zeros(1, 3, 1, 1))
    assert value.item() == pytest.approx(divergence / 4, rel=1e-6)


def test_localization_kd_loss_counts_where_the_teacher_sees_an_object(sides):
    student, teacher, _ = (side[0] for side in sides)
    scores = torch.full((2, 3, 8, 12), -100.0)
    scores[1, 2, 4, 7] = 0.0
    here = (slice(1, 2), slice(None), slice(4, 5), slice(7, 8))
    torch.testing.assert_close(
        LocalizationKDLoss()(student, teacher, scores),
        LocalizationKDLoss()(student[here], teacher[here], scores[here]),
    )


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda s, t, c: (s, t[:2], c), 'student 3, teacher 2, scores 3: expected one tap'),
        (lambda s, t, c: (s[0], t[1], c[1]), r'teacher \(2, 20, 4, 6\): expected .* one shape'),
        (lambda s, t, c: (s[0][:, :16], t[0], c[0]), r'student \(2, 16, 8, 12\), .* as many bins'),
        (lambda s, t, c: (s[0], t[0], c[1]), r'scores \(2, 3, 4, 6\): expected the teacher'),
        (lambda s, t, c: (s[0][:, :4], t[0][:, :4], c[0]), '4 box logits per location: .*YOLO11'),
        (lambda s, t, c: (s[0][:, :9], t[0][:, :9], c[0]), '9 box logits per location'),
    ],
)
def test_localization_kd_loss_refuses_sides_that_do_not_fit(sides, change, message):
    with pytest.raises(UserError, match=f'LocalizationKDLoss: .*{message}'):
        LocalizationKDLoss()(*change(*sides))


def test_localization_kd_loss_refuses_temperature_zero():
    with pytest.raises(UserError, match='tau=0: expected'):
        LocalizationKDLoss(tau=0)


@pytest.fixture
def yolo(tmp_path):
    """The distillation of scores and boxes, from a random teacher."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        config = load_config('configs/yolo11s_yolo11n_ld_bccd.py').model
        teacher = load_config('configs/teachers/yolo11s_bccd.py')
        torch.manual_seed(0)
        torch.save(MODELS.build(teacher.model).state_dict(), tmp_path / 'teacher.pth')
        config.teacher.checkpoint = str(tmp_path / 'teacher.pth')
        yield MODELS.build(config).eval()


def test_localization_kd_terms_of_yolo_compare_the_heads_outputs(yolo):
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    samples = [blank_samples(yolo.student, (64, 64))[0] for _ in range(2)]
    own, other = (
        network.bbox_head(network.neck(network.backbone(image)))
        for network in (yolo.student, yolo.teacher.network)
    )
    term = yolo.distill['boxes']
    expected = term.current_weight * term.loss(own[1], other[1], other[0])
    torch.testing.assert_close(yolo.loss(image, samples)['distill.boxes'], expected)
    assert expected > 0
