"""FRSFeatureLoss and FRSHeadLoss over the levels of a pyramid."""

import copy

import pytest
import torch
from mmengine.registry import DefaultScope
from torch.nn import functional

from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.losses import FRSFeatureLoss, FRSHeadLoss
from mmkd.openmmlab.samples import blank_samples
from mmkd.registry import MODELS

SIZES = [(8, 12), (4, 6), (1, 1)]


def pyramid(channels, seed, sizes=SIZES, batch=2):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, channels, *size, generator=g) for size in sizes)


@pytest.fixture
def sides():
    """Features of student and teacher, scores of student and teacher (2 anchors, 3 classes)."""
    return pyramid(5, 0), pyramid(5, 1), pyramid(6, 2), pyramid(6, 3)


def test_frs_losses_levels_are_summed_as_in_paper(sides):
    student, teacher, own, scores = (tuple(level.double() for level in side) for side in sides)
    feature = head = 0.0
    for s, t, a, b in zip(student, teacher, own, scores, strict=True):
        mask = torch.max(torch.sigmoid(b), dim=1).values[:, None]
        feature += ((t - s) ** 2 * mask).sum() / mask.sum()
        entropy = functional.binary_cross_entropy(a.sigmoid(), b.sigmoid(), reduction='none')
        head += (entropy * mask).sum() / mask.sum()
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        student, teacher, own, scores = (tuple(x.to(dtype) for x in side) for side in sides)
        values = FRSFeatureLoss()(student, teacher, scores), FRSHeadLoss()(own, scores)
        for value, expected in zip(values, (feature, head), strict=True):
            torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=0)


def test_frs_losses_one_level_needs_no_tuple(sides):
    student, teacher, own, scores = (side[0] for side in sides)
    assert FRSFeatureLoss()(student, teacher, scores) == FRSFeatureLoss()(
        (student,), (teacher,), (scores,)
    )
    assert FRSHeadLoss()(own, scores) == FRSHeadLoss()((own,), (scores,))


def test_frs_losses_mask_is_the_teachers_without_gradient(sides):
    for side in sides:
        for level in side:
            level.requires_grad_()
    student, teacher, own, scores = sides
    (FRSFeatureLoss()(student, teacher, scores) + FRSHeadLoss()(own, scores)).backward()
    assert all(level.grad is None for level in (*teacher, *scores))
    assert all(level.grad.abs().sum() > 0 for level in (*student, *own))


def test_frs_losses_ignore_where_teacher_finds_nothing(sides):
    """Scores of -100 everywhere but at one place leave that place's error alone."""
    student, teacher, _, _ = (side[:1] for side in sides)
    scores = torch.full((2, 6, 8, 12), -100.0)
    scores[1, 4, 2, 3] = 0.0
    value = FRSFeatureLoss()(student, teacher, (scores,))
    expected = (teacher[0] - student[0])[1, :, 2, 3].square().sum()
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    'drop, message',
    [
        (0, 'student 2, teacher 3, scores 3'),
        (1, 'student 3, teacher 2, scores 3'),
        (2, 'student 3, teacher 3, scores 2'),
    ],
)
def test_frs_losses_different_level_counts_raise_user_error(sides, drop, message):
    arguments = [sides[0], sides[1], sides[3]]
    arguments[drop] = arguments[drop][:2]
    with pytest.raises(UserError, match=f'FRSFeatureLoss: {message}: expected one tap per level'):
        FRSFeatureLoss()(*arguments)
    if drop < 2:
        head = [sides[2], sides[3]]
        head[drop] = head[drop][:2]
        with pytest.raises(UserError, match='FRSHeadLoss: .*expected one tap per level'):
            FRSHeadLoss()(*head)


def test_frs_losses_different_class_counts_raise_user_error(sides):
    with pytest.raises(UserError, match='160 student and 6 teacher scores'):
        FRSHeadLoss()(pyramid(160, 0), sides[3])


def test_frs_losses_scores_of_another_level_raise_user_error(sides):
    student, teacher, _, scores = sides
    with pytest.raises(UserError, match=r"scores \(2, 6, 4, 6\): expected the teacher's scores"):
        FRSFeatureLoss()(student[0], teacher[0], scores[1])


def test_frs_losses_other_widths_need_an_adapter(sides):
    with pytest.raises(UserError, match='4 student and 5 .*`adapter`'):
        FRSFeatureLoss()(pyramid(4, 0), sides[1], sides[3])


@pytest.fixture
def model(detection_files):
    """A small RetinaNet's distillation with the paper's terms."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        config = load_config(detection_files['recipe']).model
        config.distill = load_config('configs/retinanet_r101_r50_frs.py').model.distill
        yield config


@pytest.fixture
def batch(model):
    """Two images with a box each."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        student = MODELS.build(model.student)
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return image, [blank_samples(student, (64, 64))[0] for _ in range(2)]


def at(distiller, t):
    for term in distiller.distill.values():
        term.set_time(t, 0)
    return distiller


def test_frs_terms_equal_losses_of_network_outputs(model, batch):
    distiller = at(MODELS.build(model).eval(), 500)
    student, teacher = distiller.student, distiller.teacher.network
    levels, expected = student.neck(student.backbone(batch[0])), {}
    rich = teacher.neck(teacher.backbone(batch[0]))
    own, scores = student.bbox_head(levels)[0], teacher.bbox_head(rich)[0]
    adapted = tuple(
        phi(x) for phi, x in zip(distiller.distill['feature'].adapter, levels, strict=True)
    )
    expected['distill.feature'] = 0.005 * FRSFeatureLoss()(adapted, rich, tuple(scores))
    expected['distill.head'] = 0.02 * FRSHeadLoss()(tuple(own), tuple(scores))
    losses = distiller.loss(*batch)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_frs_terms_weights_warm_up_over_500_iterations(model):
    distiller = MODELS.build(model)
    for t, share in ((0, 0), (1, 1 / 500), (250, 0.5), (500, 1), (9000, 1)):
        at(distiller, t)
        weights = [term.current_weight for term in distiller.distill.values()]
        assert weights == pytest.approx([0.005 * share, 0.02 * share])


def test_frs_terms_backward_reaches_every_parameter(model, batch):
    distiller = at(MODELS.build(model).train(), 100)
    images, samples = batch
    for _ in range(2):
        distiller.zero_grad(set_to_none=True)
        total, log = distiller.parse_losses(distiller.loss(images, samples))
        total.backward()
        assert total.isfinite() and log['distill.feature'] > 0 and log['distill.head'] > 0
        assert [n for n, p in distiller.named_parameters() if p.grad is None] == []
        for sample in samples:
            sample.gt_instances = sample.gt_instances[:0]


def test_frs_terms_different_class_counts_raise_user_error(model):
    model.student.bbox_head.num_classes = 7
    message = r'model.distill.head: FRSHeadLoss: 63 student and 36 teacher scores'
    with pytest.raises(UserError, match=message):
        MODELS.build(model)


def test_frs_terms_different_level_counts_raise_user_error(model):
    model.student.neck.num_outs = 4
    model.student.bbox_head.anchor_generator.strides = [8, 16, 32, 64]
    with pytest.raises(UserError, match=r"tap 'neck\[4\]': .* \[4\], but neck is a tuple of 4"):
        MODELS.build(copy.deepcopy(model))
    for term in model.distill.values():
        term.student = term.student[:4]
    model.distill.feature.adapter = None
    model.student.neck.out_channels = model.student.bbox_head.in_channels = 8
    message = 'model.distill.feature: FRSFeatureLoss: student 4, teacher 5'
    with pytest.raises(UserError, match=message):
        MODELS.build(model)
