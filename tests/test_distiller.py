import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.configs import load_config
from mmkd.dry_run import blank_samples
from mmkd.errors import UserError
from mmkd.registry import MODELS
from mmkd.taps import parse_tap, record


def broken(model_config, path, value):
    """The config with one key replaced (or removed, for ``...``)."""
    *parents, last = path.split('.')
    node = model_config
    for key in parents:
        node = node[key]
    if value is ...:
        node.pop(last)
    else:
        node[last] = value
    return model_config


def test_losses_are_the_students_and_the_terms(distiller, batch):
    distiller.eval()  # no dropout or running statistics between the two passes
    losses = distiller.loss(*batch)
    alone = distiller.student(*batch, mode='loss')
    assert {k: v for k, v in losses.items() if k.startswith('student.')} == {
        f'student.{k}': v for k, v in alone.items()
    }
    assert set(losses) - {f'student.{k}' for k in alone} == {'distill.encoder', 'distill.decoder'}


def test_terms_compare_the_tapped_features(distiller, batch):
    distiller.eval()
    images, _ = batch
    x = distiller.student.backbone(images)
    t = distiller.teacher.network.backbone(images)
    head = distiller.teacher.network.decode_head
    encoder = 0.3 * distiller.distill['encoder'].loss(x[1], head.convs[3](t[3]))
    with record(head, [parse_tap('fusion_conv')]) as recording:
        head(t)
    fused = recording.read(parse_tap('fusion_conv'))
    decoder = 0.3 * distiller.distill['decoder'].loss(x[2], fused)
    losses = distiller.loss(*batch)
    torch.testing.assert_close(losses['distill.encoder'], encoder)
    torch.testing.assert_close(losses['distill.decoder'], decoder)


def test_ignored_pixels_reach_the_loss_that_takes_labels(model_config, batch):
    model_config['distill'] = dict(
        logits=dict(
            student='decode_head.conv_seg',
            teacher='decode_head.conv_seg',
            loss=dict(type='LogitKDLoss'),
        )
    )
    distiller = MODELS.build(model_config).eval()
    images, samples = batch
    samples[1].gt_sem_seg.data[:, :, 40:] = 255
    loss, labels = distiller.distill['logits'].loss, samples[0].gt_sem_seg.data
    labels = torch.cat([labels, samples[1].gt_sem_seg.data])
    logits = (n(images, mode='tensor') for n in (distiller.student, distiller.teacher.network))
    expected = loss(*logits, labels)
    torch.testing.assert_close(distiller.loss(*batch)['distill.logits'], expected)
    samples[1].gt_sem_seg.data[:, :, 40:] = 0
    assert not torch.isclose(distiller.loss(*batch)['distill.logits'], expected)


def test_every_term_counts_in_the_total(distiller):
    losses = {
        'student.decode.loss_ce': torch.tensor(1.0),
        'student.decode.acc_seg': torch.tensor(50.0),
        'distill.encoder': torch.tensor(0.25),
        'distill.decoder': torch.tensor(0.5),
    }
    total, log_vars = distiller.parse_losses(losses)
    assert total == 1.75 == log_vars['loss']
    assert log_vars['distill.encoder'] == 0.25


def test_weight_scales_a_term(model_config, batch):
    torch.manual_seed(0)
    full = MODELS.build(copy.deepcopy(model_config)).eval()
    torch.manual_seed(0)
    third = MODELS.build(broken(model_config, 'distill.encoder.weight', 0.1)).eval()
    a, b = full.loss(*batch), third.loss(*batch)
    torch.testing.assert_close(b['distill.encoder'], a['distill.encoder'] / 3)
    torch.testing.assert_close(b['distill.decoder'], a['distill.decoder'])


def test_teacher_is_frozen_whatever_the_mode(distiller, batch):
    network = distiller.teacher.network
    before = copy.deepcopy(network.state_dict())
    distiller.train()
    assert not any(m.training for m in network.modules())
    total, _ = distiller.parse_losses(distiller.loss(*batch))
    total.backward()
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_teacher_stops_at_its_last_tap(distiller, batch):
    # The classifier comes after fusion_conv: a teacher without one still answers.
    distiller.teacher.network.decode_head.conv_seg = None
    assert 'distill.decoder' in distiller.loss(*batch)


def test_teacher_is_in_no_module_tree(distiller):
    mine = {id(p) for p in distiller.parameters()} | {id(b) for b in distiller.buffers()}
    theirs = distiller.teacher.network.state_dict(keep_vars=True).values()
    assert not mine & {id(v) for v in theirs}
    assert {k.split('.')[0] for k in distiller.state_dict()} <= {'student', 'distill'}


def test_every_parameter_gets_a_gradient(distiller, batch):
    # What DistributedDataParallel needs to run without find_unused_parameters.
    distiller.train()
    distiller.parse_losses(distiller.loss(*batch))[0].backward()
    assert [n for n, p in distiller.named_parameters() if p.grad is None] == []


def test_building_leaves_no_trace(model_config):
    torch.manual_seed(5)
    student = MODELS.build(copy.deepcopy(model_config['student']))
    torch.manual_seed(5)
    distiller = MODELS.build(model_config)
    assert distiller.training and distiller.student.training
    for key, value in student.state_dict().items():
        assert torch.equal(distiller.student.state_dict()[key], value), key
    assert all(m.__dict__.get('forward') is None for m in distiller.modules())


def test_the_student_starts_as_it_does_alone(model_config):
    model_config['distill']['encoder']['loss'] = dict(type='FeatureMSELoss')
    model_config['distill']['encoder']['adapter'] = dict(type='Conv2d', kernel_size=1)
    states = []
    for config in (model_config['student'], model_config):
        torch.manual_seed(3)
        network = MODELS.build(config)
        network.init_weights()
        states.append(getattr(network, 'student', network).state_dict())
    alone, distilled = states
    assert alone.keys() == distilled.keys()
    assert all(torch.equal(alone[key], distilled[key]) for key in alone)


def test_predicts_as_the_student(distiller, batch):
    distiller.eval()
    images, samples = batch
    for sample in samples:
        sample.set_metainfo(dict(ori_shape=(64, 96), img_shape=(64, 96)))
    with torch.no_grad():
        ours = distiller(images, samples, mode='predict')
        theirs = distiller.student(images, samples, mode='predict')
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.seg_logits.data, b.seg_logits.data)


def test_loads_a_student_checkpoint(distiller, model_config):
    torch.manual_seed(11)
    student = MODELS.build(model_config['student'])
    result = distiller.load_state_dict(student.state_dict(), strict=False)
    assert result.unexpected_keys == [] and result.missing_keys == []
    for key, value in student.state_dict().items():
        assert torch.equal(distiller.student.state_dict()[key], value), key


def test_averaged_copy_shares_the_teacher(distiller):
    average = ExponentialMovingAverage(distiller)
    assert average.module.teacher is distiller.teacher
    assert average.module.student is not distiller.student


def test_adapter_channels_are_found(model_config, batch):
    model_config['distill'] = dict(
        feature=dict(
            student='backbone[1]',
            teacher='backbone[3]',
            adapter=dict(type='Conv2d', kernel_size=1),
            loss=dict(type='FrequencyAttentionLoss', low=1, high=1, cutoff=1, compare='feature'),
        )
    )
    distiller = MODELS.build(model_config)
    layer = distiller.distill['feature'].adapter[0]
    assert (layer.in_channels, layer.out_channels) == (128, 64)
    distiller.loss(*batch)['distill.feature'].backward()
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    'path, value, message',
    [
        ('distill.encoder.student', 'backbone[7]', 'distill.encoder: tap .*tuple of 3.*7'),
        ('distill.encoder.teacher', 'bakbone[3]', r"encoder: tap 'bakbone'.*nearest: backbone"),
        ('distill.encoder.student', 'backbone', 'encoder: tap .*add an index'),
        ('distill.encoder.loss', 'CWDLoss', "distill.encoder.loss='CWDLoss'; allowed: a dict"),
        ('distill.encoder.loss', None, 'distill.encoder.loss=None; allowed: a dict'),
        ('distill.encoder.adapter', dict(type='NoLayer'), "encoder: type='NoLayer' is not a reg"),
        ('distill.encoder.adapter', dict(type='Conv2d'), 'distill.encoder: .*kernel_size'),
        ('distill.encoder.schedule', 'cosine', "distill.encoder.schedule='cosine'"),
        ('distill.encoder', 'x', "model.distill.encoder='x'; allowed: a dict"),
        ('teacher.weights', 'x', "model.teacher: unknown key 'weights'"),
        ('teacher', 'x', "model.teacher='x'; allowed: dict"),
        ('teacher.shard', 'all', "model.teacher.shard='all'; allowed: True, False"),
        ('distill.encoder.loss', ..., "distill.encoder: 'loss' is missing"),
        ('distill.encoder.los', {}, "distill.encoder: unknown key 'los'"),
        ('distill.encoder.loss.cutoff', 1.5, 'distill.encoder: .*cutoff.*1.5'),
        ('distill.encoder.loss.cutof', 0.5, "encoder: .*takes no 'cutof'; allowed: low, .*cutoff"),
        ('distill.encoder.loss.type', 'CWLoss', "encoder: type='CWLoss' .*nearest: .*CWDLoss"),
        ('distill.encoder.loss.compare', 'feature', 'distill.encoder: .*128.*32.*adapter'),
        ('distill.encoder.weight', -1, 'distill.encoder: weight=-1'),
        ('distill.encoder.weight', float('nan'), 'distill.encoder: weight=nan'),
        ('distill.encoder.weight', float('inf'), 'distill.encoder: weight=inf'),
        (
            'distill.encoder.schedule',
            dict(type='step_off', at=1, by_epoch='no'),
            "distill.encoder: schedule.by_epoch='no'; allowed: True or False",
        ),
        ('distill.encoder.adapter', dict(type='Conv2d', in_channels=1), 'sets in_channels'),
        ('distill', {}, 'model.distill has no term'),
        ('distill', 'none', "model.distill='none'; allowed: a dict of terms by name"),
        ('distill', None, 'model.distill=None; allowed: a dict of terms by name'),
        ('distill.encoder.student', [], r'distill.encoder: student=\[\]; allowed: a tap'),
        ('distill.encoder.teacher', [], r'distill.encoder: teacher=\[\]; allowed: a tap'),
        ('distill.encoder.teacher_extra', {'x': []}, r'encoder: teacher_extra.x=\[\]; allowed'),
        ('distill', {'encoder': None, 'decoder': None}, 'model.distill has no term'),
        ('teacher.config', ..., 'model.teacher.config is missing'),
        ('teacher.checkpoint', ..., 'model.teacher.checkpoint is missing'),
        ('teacher.config', 'no/such.py', 'config no/such.py does not exist'),
        ('teacher.config', 'mmseg::no/such.py', 'config mmseg::no/such.py'),
        ('teacher.checkpoint', 5, 'model.teacher.checkpoint=5; allowed: a path'),
        ('teacher.config', ['a.py'], r"model.teacher.config=\['a.py'\]; allowed: a path"),
        ('teacher.checkpoint', 'no/such.pth', 'checkpoint no/such.pth does not exist'),
    ],
)
def test_bad_configs_are_named(model_config, path, value, message):
    with pytest.raises(UserError, match=message):
        MODELS.build(broken(model_config, path, value))


def test_a_dropped_term_is_gone(model_config, batch):
    distiller = MODELS.build(broken(model_config, 'distill.decoder', None))
    assert 'distill.decoder' not in distiller.loss(*batch)


def test_a_term_without_weight_costs_nothing(model_config, batch):
    off = dict(type='step_off', at=1)
    model_config['distill']['decoder']['schedule'] = off
    distiller = MODELS.build(model_config).eval()
    with pytest.raises(UserError, match='model.distill.decoder.schedule needs.*TermScheduleHook'):
        distiller.loss(*batch)
    for term in distiller.distill.values():
        term.set_time(0)
    assert distiller.loss(*batch)['distill.decoder'] > 0
    for term in distiller.distill.values():
        term.set_time(1)
    # Only the decoder's term reads fusion_conv: now the teacher stops before it.
    distiller.teacher.network.decode_head.fusion_conv = None
    # And only it reads backbone[2] of the student, which its tap now cannot find.
    distiller.distill['decoder'].student_taps = [parse_tap('no.such.module')]
    losses = distiller.loss(*batch)
    assert losses['distill.decoder'] == 0 and losses['distill.encoder'] > 0


def test_no_weight_no_teacher(model_config, batch):
    for term in model_config['distill'].values():
        term['weight'] = 0
    distiller = MODELS.build(model_config).train()
    distiller.teacher = None
    total, _ = distiller.parse_losses(distiller.loss(*batch))
    total.backward()
    assert all(value == 0 for name, value in distiller.loss(*batch).items() if 'distill' in name)


def test_parameters_of_a_term_without_weight_get_zero_gradients(model_config, batch):
    model_config['distill']['encoder'] = dict(
        student='backbone[1]',
        teacher='backbone[3]',
        weight=0,
        adapter=dict(type='Conv2d', kernel_size=1),
        loss=dict(type='FrequencyAttentionLoss', low=1, high=1, cutoff=1, compare='feature'),
    )
    distiller = MODELS.build(model_config).train()
    distiller.parse_losses(distiller.loss(*batch))[0].backward()
    for parameter in distiller.distill['encoder'].parameters():
        assert parameter.grad.abs().sum() == 0


@pytest.mark.parametrize('name', ['values', 'a.b', '1st', ''])
def test_bad_term_names_are_named(model_config, name):
    model_config['distill'] = {name: model_config['distill']['encoder']}
    with pytest.raises(UserError, match=f'model.distill.{name}: allowed as a name'):
        MODELS.build(model_config)


def test_a_term_without_gradient_is_refused(distiller, batch):
    distiller.train()
    distiller.student.backbone.learning_to_downsample.requires_grad_(False)
    distiller.student.backbone.global_feature_extractor.requires_grad_(False)
    with pytest.raises(UserError, match='model.distill.encoder: .* has no gradient.*frozen'):
        distiller.loss(*batch)


def test_an_adapters_gradient_is_none_of_the_students(model_config, batch):
    model_config.distill = dict(
        feature=dict(
            student='backbone[1]', teacher='backbone[3]', loss=dict(type='FeatureMSELoss'),
            adapter=dict(type='Conv2d', kernel_size=1),
        )
    )  # fmt: skip
    distiller = MODELS.build(model_config)
    distiller.train()
    distiller.loss(*batch)
    distiller.student.backbone.learning_to_downsample.requires_grad_(False)
    distiller.student.backbone.global_feature_extractor.requires_grad_(False)
    with pytest.raises(UserError, match=r"feature: student tap 'backbone\[1\]' has no gradient"):
        distiller.loss(*batch)


FUSED = 'decode_head.fusion_conv'


@MODELS.register_module()
class WeighedLoss(nn.Module):
    """A loss with a further argument, which a further tap of the teacher yields."""

    def forward(self, student, teacher, weights):
        return (weights.mean() * (student.mean() - teacher.mean())).square()


EXTRA = dict(
    student='backbone[1]',
    teacher='backbone[3]',
    teacher_extra=dict(weights=FUSED),
    loss=dict(type='WeighedLoss'),
)


def test_further_taps_of_the_teacher_reach_the_loss(model_config, batch):
    model_config['distill'] = dict(extra=EXTRA)
    distiller = MODELS.build(model_config).eval()
    images, _ = batch
    student = distiller.student.backbone(images)[1].mean()
    with record(distiller.teacher.network, map(parse_tap, ['backbone[3]', FUSED])) as recording:
        distiller.teacher.network(images)
    teacher = recording.read(parse_tap('backbone[3]')).mean()
    weight = recording.read(parse_tap(FUSED)).mean()
    expected = (weight * (student - teacher)).square()
    torch.testing.assert_close(distiller.loss(*batch)['distill.extra'], expected)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(teacher_extra=None), 'teacher_extra names nothing; WeighedLoss takes weights'),
        (dict(teacher_extra=dict(weight=FUSED)), 'names weight; WeighedLoss takes weights'),
        (dict(loss=dict(type='CWDLoss')), 'names weights; CWDLoss takes nothing'),
        (dict(teacher_extra=FUSED), "teacher_extra='decode_head.fusion_conv'; allowed: a dict"),
        (dict(teacher_extra=dict(weights='fusion')), "tap 'fusion'"),
    ],
)
def test_wrong_further_taps_are_named(model_config, changes, message):
    model_config['distill'] = dict(extra=EXTRA | changes)
    with pytest.raises(UserError, match=f'model.distill.extra.*{message}'):
        MODELS.build(model_config)


@pytest.fixture
def detection(detection_files):
    """The ``model`` of a detector's recipe, and its scope."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield load_config(detection_files['recipe']).model


DETECTORS = [
    'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
]


@pytest.mark.parametrize('name', DETECTORS)
def test_mmdets_own_configs_are_teacher_and_student(tmp_path, name):
    detector = load_config(name)
    head = 'rpn_head' if 'faster' in name else 'bbox_head'
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.save(MODELS.build(detector.model).state_dict(), tmp_path / 'teacher.pth')
        taps = dict(neck='neck[0]', scores=f'{head}[0][1]')
        distiller = MODELS.build(
            dict(
                type='mmkd.Distiller',
                student=detector.model,
                teacher=dict(config=name, checkpoint=str(tmp_path / 'teacher.pth')),
                distill={
                    term: dict(student=tap, teacher=tap, loss=dict(type='FeatureMSELoss'))
                    for term, tap in taps.items()
                },
            )
        )
    assert distiller.distill.keys() == taps.keys()


def test_the_tapped_scores_are_those_of_the_task_loss(detection):
    """The student's head runs once, and the term's gradient goes through what it returned."""
    distiller = MODELS.build(detection).train()
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    samples = [blank_samples(distiller.student, 64)[0] for _ in range(2)]
    with record(distiller.student, [parse_tap('bbox_head')]) as recording:
        losses = distiller.loss(image, samples)
    assert recording.calls() == {'bbox_head': 1}
    scores = recording.read(parse_tap('bbox_head[0][1]'))
    for name in ('distill.scores', 'student.loss_cls'):
        value = sum(losses[name]) if isinstance(losses[name], list) else losses[name]
        (gradient,) = torch.autograd.grad(value, scores, retain_graph=True)
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    'side, tap, message',
    [
        ('student', 'data_preprocessor', "never ran 'data_preprocessor'"),
        ('teacher', 'bbox_head.loss_cls', "never ran 'bbox_head.loss_cls'"),
        ('student', 'neck', 'tuple of 5.*add an index'),
        ('student', 'neck[5]', r'tuple of 5, without \[5\]'),
        ('teacher', 'rpn_head[0]', "'rpn_head': RetinaNet has no such module"),
    ],
)
def test_a_detectors_wrong_taps_are_named(detection, side, tap, message):
    detection.distill.scores[side] = tap
    with pytest.raises(UserError, match=f'model.distill.scores: .*{message}'):
        MODELS.build(detection)


def test_a_loss_that_takes_labels_does_without_them_where_there_are_boxes(detection):
    detection.distill = dict(
        scores=dict(
            student='bbox_head[0][1]', teacher='bbox_head[0][1]', loss=dict(type='LogitKDLoss')
        )
    )
    distiller = MODELS.build(detection).train()
    samples = blank_samples(distiller.student, 64)
    assert distiller.loss(torch.randn(1, 3, 64, 64), samples)['distill.scores'] > 0
