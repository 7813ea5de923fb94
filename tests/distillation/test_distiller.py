import copy
import random

import pytest
import torch
from batch_norms import count_batch_norms
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import DefaultScope
from mmseg.models import EncoderDecoder, SegDataPreProcessor
from torch import nn
from torch.profiler import ProfilerActivity, profile

from mmkd.analysis.term_gradients import term_gradients
from mmkd.config.load import load_config
from mmkd.distillation.load import load_distiller
from mmkd.distillation.recording import record
from mmkd.distillation.tap import parse_tap
from mmkd.errors import UserError
from mmkd.losses.logit_kd_loss import LogitKDLoss
from mmkd.openmmlab.samples import blank_samples
from mmkd.openmmlab.unlabelled import without_annotations
from mmkd.registry import MODELS

SHARE = dict(type='gradient_share', share=0.2)


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


def test_distiller_loss_has_student_and_term_losses(distiller, batch):
    distiller.eval()  # no dropout or running statistics between the two passes
    losses = distiller.loss(*batch)
    alone = distiller.student(*batch, mode='loss')
    assert {k: v for k, v in losses.items() if k.startswith('student.')} == {
        f'student.{k}': v for k, v in alone.items()
    }
    assert set(losses) - {f'student.{k}' for k in alone} == {'distill.encoder', 'distill.decoder'}


def test_term_loss_compares_tapped_features(distiller, batch):
    distiller.eval()
    images, _ = batch
    x = distiller.student.backbone(images)
    t = distiller.teacher.network.backbone(images)
    head = distiller.teacher.network.decode_head
    encoder = 0.3 * distiller.distill['encoder'].loss(x[1], head.convs[3](t[3]))
    with record(head, [parse_tap('fusion_conv')]) as recording:
        head(t)
    fused = recording[parse_tap('fusion_conv')]
    decoder = 0.3 * distiller.distill['decoder'].loss(x[2], fused)
    losses = distiller.loss(*batch)
    torch.testing.assert_close(losses['distill.encoder'], encoder)
    torch.testing.assert_close(losses['distill.decoder'], decoder)


def test_term_that_takes_labels_gets_ignored_pixels(model_config, batch):
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


def test_term_label_resolution_compares_upsampled_logits(model_config, batch):
    model_config['distill'] = dict(
        logits=dict(
            student='decode_head.conv_seg',
            teacher='decode_head.conv_seg',
            loss=dict(type='LogitKDLoss', resolution='label'),
        )
    )
    distiller = MODELS.build(model_config).eval()
    images, samples = batch
    labels = torch.cat([sample.gt_sem_seg.data for sample in samples])
    logits = (
        nn.functional.interpolate(n(images, mode='tensor'), labels.shape[1:], mode='bilinear')
        for n in (distiller.student, distiller.teacher.network)
    )
    expected = LogitKDLoss()(*logits, labels)
    torch.testing.assert_close(distiller.loss(*batch)['distill.logits'], expected)


def test_train_step_reads_no_scalar_back(distiller, batch):
    distiller.train()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        total, _ = distiller.parse_losses(distiller.loss(*batch))
        total.backward()
    names = {event.key for event in recorded.key_averages()}
    assert 'aten::log_softmax' in names
    assert not names & {'aten::item', 'aten::_local_scalar_dense', 'aten::is_nonzero'}


def test_nonfinite_terms_remember_every_batch_until_told(distiller, batch):
    images, samples = batch
    distiller.loss(images.clone().fill_(torch.nan), samples)
    distiller.loss(images, samples)
    found = distiller.nonfinite_terms()
    assert sorted(found) == ['decoder', 'encoder']
    assert 'model.distill.encoder is nan: student backbone[1] (2, ' in found['encoder']
    distiller.forget_terms()
    assert distiller.nonfinite_terms() == {}


def test_student_class_weights_give_pytorchs_weighted_mean(model_config, batch):
    weight = torch.linspace(0.1, 2, 11)
    for head in (model_config.student.decode_head, *model_config.student.auxiliary_head):
        head.loss_decode.class_weight = weight.tolist()
    distiller = MODELS.build(model_config).eval()
    images, samples = batch
    samples[0].gt_sem_seg.data[:, :9] = 255
    labels = torch.cat([sample.gt_sem_seg.data for sample in samples])
    logits = distiller.student(images, mode='tensor')
    logits = nn.functional.interpolate(logits, labels.shape[1:], mode='bilinear')
    expected = nn.functional.cross_entropy(logits, labels, weight, ignore_index=255)
    losses = distiller.loss(images, samples)
    torch.testing.assert_close(losses['student.decode.loss_ce'], expected)
    assert losses['student.aux_1.loss_ce'].isfinite()


def test_parse_losses_total_includes_every_term(distiller):
    losses = {
        'student.decode.loss_ce': torch.tensor(1.0),
        'student.decode.acc_seg': torch.tensor(50.0),
        'distill.encoder': torch.tensor(0.25),
        'distill.decoder': torch.tensor(0.5),
    }
    total, log_vars = distiller.parse_losses(losses)
    assert total == 1.75 == log_vars['loss']
    assert log_vars['distill.encoder'] == 0.25


@pytest.fixture
def unlabelled(batch) -> dict:
    """Three images of noise without labels, as they come from a data loader, of another size."""
    noise = 255 * torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    samples = [without_annotations(batch[1][0]) for _ in noise]
    return dict(inputs=list(noise), data_samples=samples)


@pytest.mark.parametrize('scale', [1.0, 2.0])
def test_unlabelled_images_loss_is_the_terms_only(model_config, batch, unlabelled, scale):
    model_config['teacher']['scale'] = scale
    distiller = MODELS.build(model_config).eval()
    images, samples = batch
    labelled = distiller.loss(images, samples)
    noise = distiller.data_preprocessor(copy.deepcopy(unlabelled), training=True)['inputs']
    ours = blank_samples(distiller.student, (96, 96)) * 3  # these terms read no labels
    of_noise = distiller.loss(noise, ours)
    distiller.unlabelled = unlabelled
    for name, value in distiller.loss(images, samples).items():
        if name.startswith('student.'):
            assert torch.equal(value, labelled[name])
        else:
            torch.testing.assert_close(value, (2 * labelled[name] + 3 * of_noise[name]) / 5)
    assert distiller.unlabelled is None  # they count once
    again = distiller.loss(images, samples)
    assert all(torch.equal(again[name], labelled[name]) for name in labelled)


def test_unlabelled_images_train_the_student(distiller, batch, unlabelled):
    distiller.train()
    before = distiller.student.backbone.learning_to_downsample.conv.bn.running_mean.clone()
    images = [*batch[0].unbind(), *unlabelled['inputs']]
    for image in images:
        image.requires_grad_()
    distiller.unlabelled = dict(unlabelled, inputs=images[2:])
    losses = distiller.loss(torch.stack(images[:2]), batch[1])
    distiller.parse_losses(losses)[0].backward()
    assert all(image.grad.abs().max() > 0 for image in images)
    norm = distiller.student.backbone.learning_to_downsample.conv.bn
    assert norm.num_batches_tracked == 2 and not norm.running_mean.equal(before)


def test_unlabelled_images_all_pixels_count_in_term_with_labels(model_config, batch, unlabelled):
    logits = dict(student='decode_head.conv_seg', teacher='decode_head.conv_seg')
    model_config['distill'] = dict(logits=dict(logits, loss=dict(type='LogitKDLoss')))
    distiller = MODELS.build(model_config).eval()
    images, samples = batch
    for sample in samples:
        sample.gt_sem_seg.data[:] = 255  # nothing counts
    noise = distiller.data_preprocessor(copy.deepcopy(unlabelled), training=True)['inputs']
    both = (n(noise, mode='tensor') for n in (distiller.student, distiller.teacher.network))
    expected = 3 / 5 * distiller.distill['logits'].loss(*both)
    distiller.unlabelled = unlabelled
    torch.testing.assert_close(distiller.loss(images, samples)['distill.logits'], expected)


def test_unlabelled_images_run_a_student_with_several_heads(model_config, batch, unlabelled):
    student = model_config['student']
    first = dict(student['decode_head'], type='FCNHead', num_convs=1)
    refine = {k: v for k, v in first.items() if k not in ('num_convs', 'concat_input')}
    refine |= dict(type='OCRHead', ocr_channels=8)
    student.update(type='CascadeEncoderDecoder', num_stages=2, auxiliary_head=None)
    student['decode_head'] = [first, refine]
    model_config['distill'].pop('decoder')
    distiller = MODELS.build(model_config).eval()
    labelled = distiller.loss(*batch)['distill.encoder']
    distiller.unlabelled = unlabelled
    both = distiller.loss(*batch)['distill.encoder']
    assert both.isfinite() and both != labelled


def test_unlabelled_images_with_a_tap_in_an_auxiliary_head_are_refused(
    model_config, batch, unlabelled
):
    logits = dict(student='auxiliary_head.0.conv_seg', teacher='decode_head.conv_seg')
    model_config['distill'] = dict(logits=dict(logits, loss=dict(type='LogitKDLoss')))
    distiller = MODELS.build(model_config)
    distiller.unlabelled = unlabelled
    message = "tap 'auxiliary_head.0.conv_seg': .* images without labels .*: tap another module"
    with pytest.raises(UserError, match=message):
        distiller.loss(*batch)


class DrawingPreprocessor(SegDataPreProcessor):
    """Draw a number for each batch and keep it, as one that resizes batches does."""

    drawn: float = 0.0

    def forward(self, data: dict, training: bool = False) -> dict:
        self.drawn = random.random()
        return super().forward(data, training)


def test_unlabelled_images_leave_the_preprocessor_and_generators_alone(
    distiller, batch, unlabelled
):
    preprocess = DrawingPreprocessor(size_divisor=32)
    distiller.eval().data_preprocessor = preprocess
    distiller.unlabelled = unlabelled
    before = random.getstate()
    distiller.loss(*batch)
    assert preprocess.drawn == 0.0 and random.getstate() == before


def test_load_distiller_takes_a_preprocessor_beside_the_model(recipe):
    inside = load_distiller(recipe, None).data_preprocessor
    recipe.data_preprocessor = recipe.model.student.pop('data_preprocessor')
    beside = load_distiller(recipe, None).data_preprocessor
    assert type(beside) is type(inside) and torch.equal(beside.mean, inside.mean)


def test_term_weight_scales_its_loss(model_config, batch):
    torch.manual_seed(0)
    full = MODELS.build(copy.deepcopy(model_config)).eval()
    torch.manual_seed(0)
    third = MODELS.build(broken(model_config, 'distill.encoder.weight', 0.1)).eval()
    a, b = full.loss(*batch), third.loss(*batch)
    torch.testing.assert_close(b['distill.encoder'], a['distill.encoder'] / 3)
    torch.testing.assert_close(b['distill.decoder'], a['distill.decoder'])


def test_teacher_in_any_mode_is_frozen(distiller, batch):
    network = distiller.teacher.network
    before = copy.deepcopy(network.state_dict())
    distiller.train()
    assert not any(m.training for m in network.modules())
    total, _ = distiller.parse_losses(distiller.loss(*batch))
    total.backward()
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_teacher_pass_stops_at_last_tap(distiller, batch):
    # The classifier comes after fusion_conv: a teacher without one still answers.
    distiller.teacher.network.decode_head.conv_seg = None
    assert 'distill.decoder' in distiller.loss(*batch)


def test_teacher_is_outside_the_module_tree(distiller):
    mine = {id(p) for p in distiller.parameters()} | {id(b) for b in distiller.buffers()}
    theirs = distiller.teacher.network.state_dict(keep_vars=True).values()
    assert not mine & {id(v) for v in theirs}
    assert {k.split('.')[0] for k in distiller.state_dict()} <= {'student', 'distill'}


def test_distiller_backward_reaches_every_parameter(distiller, batch):
    # What DistributedDataParallel needs to run without find_unused_parameters.
    distiller.train()
    distiller.parse_losses(distiller.loss(*batch))[0].backward()
    assert [n for n, p in distiller.named_parameters() if p.grad is None] == []


def test_build_distiller_leaves_no_trace(model_config):
    torch.manual_seed(5)
    student = MODELS.build(copy.deepcopy(model_config['student']))
    torch.manual_seed(5)
    distiller = MODELS.build(model_config)
    assert distiller.training and distiller.student.training
    for key, value in student.state_dict().items():
        assert torch.equal(distiller.student.state_dict()[key], value), key
    assert all(m.__dict__.get('forward') is None for m in distiller.modules())


def test_distiller_init_weights_equal_those_of_the_baseline(model_config):
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


def test_distiller_predict_equals_student(distiller, batch):
    distiller.eval()
    images, samples = batch
    for sample in samples:
        sample.set_metainfo(dict(ori_shape=(64, 96), img_shape=(64, 96)))
    with torch.no_grad():
        ours = distiller(images, samples, mode='predict')
        theirs = distiller.student(images, samples, mode='predict')
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.seg_logits.data, b.seg_logits.data)


def test_distiller_loads_student_checkpoint(distiller, model_config):
    torch.manual_seed(11)
    student = MODELS.build(model_config['student'])
    result = distiller.load_state_dict(student.state_dict(), strict=False)
    assert result.unexpected_keys == [] and result.missing_keys == []
    for key, value in student.state_dict().items():
        assert torch.equal(distiller.student.state_dict()[key], value), key


def test_gradient_share_of_a_first_batch_without_a_shared_class_is_measured_later(
    model_config, batch
):
    shared, own, other = ['sky', 'car'], list('abcdefghi'), list('qrstuvwxy')
    model_config['distill'] = dict(
        logits=dict(
            student='decode_head',
            teacher='decode_head',
            loss=dict(type='LogitKDLoss'),
            classes=dict(student=shared + own, teacher=shared + other),
            weight=SHARE,
        )
    )
    distiller, (images, samples) = MODELS.build(model_config), batch
    labels = [sample.gt_sem_seg.data for sample in samples]
    weight, measured = distiller.distill.logits.weight, []
    for values in ([x.clamp(min=2) for x in labels], labels):
        for sample, value in zip(samples, values, strict=True):
            sample.gt_sem_seg.data = value
        distiller.distill.logits.set_time(0, 0)
        distiller.loss(images, samples)
        measured.append(weight.value)
    assert measured[0] == 0 < measured[1]


class Nested(EncoderDecoder):
    """A segmentor with one more layer, of a name of your choice."""

    def __init__(self, layer: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.add_module(layer, nn.Conv2d(3, 3, 1))


def test_distiller_with_a_student_in_the_student_loads_either_naming(model_config):
    """Checkpoints name that layer ``student.``, which is also how a Distiller names weights."""
    model_config['student'].update(type=Nested, layer='student')
    distiller = MODELS.build(model_config)
    for state in (distiller.student.state_dict(), distiller.state_dict()):
        changed = {key: value + 1 for key, value in state.items()}
        name = next(key for key in changed if key.endswith('student.weight'))
        assert distiller.load_state_dict(changed, strict=False).missing_keys == []
        assert torch.equal(distiller.student.student.weight, changed[name])


def test_distiller_student_with_a_part_named_distill_raises_user_error(model_config):
    model_config['student'].update(type=Nested, layer='distill')
    message = '^model.student.type=Nested: expected a network without a submodule named distill'
    with pytest.raises(UserError, match=message):
        MODELS.build(model_config)


def test_distiller_averaged_copy_shares_teacher(distiller):
    average = ExponentialMovingAverage(distiller)
    assert average.module.teacher is distiller.teacher
    assert average.module.student is not distiller.student


def test_adapter_channels_are_inferred(model_config, batch):
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
        (
            'distill.encoder.student',
            'backbone[7]',
            r'distill.encoder: tap .* \[7\], but backbone is a tuple of 3',
        ),
        ('distill.encoder.teacher', 'bakbone[3]', r"encoder: tap 'bakbone'.*nearest: backbone"),
        ('distill.encoder.student', 'backbone', 'encoder: tap .*add an index'),
        ('distill.encoder.loss', 'CWDLoss', "distill.encoder.loss='CWDLoss': expected a dict"),
        ('distill.encoder.loss', None, 'distill.encoder.loss=None: expected a dict'),
        ('distill.encoder.adapter', dict(type='NoLayer'), "encoder: type='NoLayer' is not a reg"),
        ('distill.encoder.adapter', dict(type='Conv2d'), 'distill.encoder: .*kernel_size'),
        ('distill.encoder.schedule', 'cosine', "distill.encoder.schedule='cosine'"),
        ('distill.encoder', 'x', "model.distill.encoder='x': expected a dict"),
        ('teacher.weights', 'x', "model.teacher: unknown key 'weights'"),
        ('teacher', 'x', "model.teacher='x': expected dict"),
        ('teacher.shard', 'all', "model.teacher.shard='all': expected True or False"),
        ('distill.encoder.loss', ..., 'distill.encoder.loss: expected this key'),
        ('distill.encoder.los', {}, "distill.encoder: unknown key 'los'"),
        ('distill.encoder.loss.cutoff', 1.5, 'distill.encoder: .*cutoff.*1.5'),
        ('distill.encoder.loss.cutof', 0.5, "encoder: .*takes no 'cutof': expected low, .*cutoff"),
        ('distill.encoder.loss.type', 'CWLoss', "encoder: type='CWLoss' .*nearest: .*CWDLoss"),
        ('distill.encoder.loss.compare', 'feature', 'distill.encoder: .*128.*32.*adapter'),
        ('distill.encoder.weight', -1, 'distill.encoder: weight=-1'),
        ('distill.encoder.weight', float('nan'), 'distill.encoder: weight=nan'),
        ('distill.encoder.weight', float('inf'), 'distill.encoder: weight=inf'),
        ('distill.encoder.weight', True, 'encoder: weight=True: expected a number >= 0'),
        ('distill.encoder.weight', dict(type='share'), "weight={'type': 'share'}: expected a num"),
        ('distill.encoder.weight', dict(type='gradient_share'), 'encoder: weight={.*: expected'),
        ('distill.encoder.weight', dict(SHARE, share=1.5), 'encoder: weight.share=1.5: expected'),
        ('distill.encoder.weight', dict(SHARE, every=0), 'encoder: weight.every=0: expected'),
        ('distill.encoder.weight', dict(SHARE, evry=5), "encoder: weight={.*'evry'.*: expected"),
        (
            'distill.encoder.schedule',
            dict(type='step_off', at=1, by_epoch='no'),
            "distill.encoder: schedule.by_epoch='no': expected True or False",
        ),
        (
            'distill.encoder.adapter',
            dict(type='Conv2d', in_channels=1),
            'adapter: expected no in_channels',
        ),
        ('distill', {}, 'model.distill: expected a term'),
        ('distill', 'none', "model.distill='none': expected a dict of terms by name"),
        ('distill', None, 'model.distill=None: expected a dict of terms by name'),
        ('distill.encoder.student', [], r'distill.encoder: student=\[\]: expected a tap'),
        ('distill.encoder.teacher', [], r'distill.encoder: teacher=\[\]: expected a tap'),
        ('distill.encoder.loss_inputs', {'x': []}, r'encoder: loss_inputs.x=\[\]: expected'),
        ('distill', {'encoder': None, 'decoder': None}, 'model.distill: expected a term'),
        ('teacher.config', ..., 'model.teacher.config: expected this key'),
        ('teacher.checkpoint', ..., 'model.teacher.checkpoint: expected this key'),
        ('teacher.config', 'no/such.py', 'config no/such.py does not exist'),
        ('teacher.config', 'mmseg::no/such.py', 'config mmseg::no/such.py'),
        ('teacher.checkpoint', 5, 'model.teacher.checkpoint=5: expected a path'),
        ('teacher.config', ['a.py'], r"model.teacher.config=\['a.py'\]: expected a path"),
        (
            'teacher.checkpoint',
            'no/such.pth',
            'model.teacher.checkpoint=no/such.pth: expected a trained teacher; correct the path',
        ),
        (
            'teacher.checkpoint',
            'no/best.pth',
            r"no/best.pth: .* teacher; run 'mmkd train .*\.py --work-dir no' first",
        ),
    ],
)
def test_distiller_bad_config_raises_user_error(model_config, path, value, message):
    with pytest.raises(UserError, match=message):
        MODELS.build(broken(model_config, path, value))


def test_term_set_to_none_is_dropped(model_config, batch):
    distiller = MODELS.build(broken(model_config, 'distill.decoder', None))
    assert 'distill.decoder' not in distiller.loss(*batch)


def test_term_of_zero_weight_is_not_computed(model_config, batch):
    off = dict(type='step_off', at=1)
    model_config['distill']['decoder']['schedule'] = off
    distiller = MODELS.build(model_config).eval()
    with pytest.raises(UserError, match='model.distill.decoder.schedule: .*LossWeightHook'):
        distiller.loss(*batch)
    for term in distiller.distill.values():
        term.set_time(0, 0)
    assert distiller.loss(*batch)['distill.decoder'] > 0
    for term in distiller.distill.values():
        term.set_time(1, 0)
    # Only the decoder's term reads fusion_conv: now the teacher stops before it.
    distiller.teacher.network.decode_head.fusion_conv = None
    # And only it reads backbone[2] of the student, which its tap now cannot find.
    distiller.distill['decoder'].student_taps = [parse_tap('no.such.module')]
    losses = distiller.loss(*batch)
    assert losses['distill.decoder'] == 0 and losses['distill.encoder'] > 0


def at(distiller, iteration):
    for term in distiller.distill.values():
        term.set_time(iteration, 0)
    return distiller


def test_gradient_share_gives_share_of_task_gradient(model_config, batch):
    shares = dict(encoder=0.2, decoder=0.7)
    for name, share in shares.items():
        model_config['distill'][name]['weight'] = dict(SHARE, share=share)
    found = term_gradients(at(MODELS.build(model_config).eval(), 0), *batch)
    assert {name: gradient.ratio for name, gradient in found.items()} == pytest.approx(shares)


def test_gradient_share_under_autocast_equals_float32(model_config, batch):
    for term in model_config['distill'].values():
        term['weight'] = SHARE
    weights = []
    for enabled in (False, True):
        torch.manual_seed(0)
        distiller = at(MODELS.build(copy.deepcopy(model_config)).eval(), 0)
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            distiller.loss(*batch)
        weights.append([term.current_weight for term in distiller.distill.values()])
    assert weights[1] != weights[0]
    assert weights[1] == pytest.approx(weights[0], rel=0.05)


def test_gradient_share_is_measured_when_due(model_config, batch):
    model_config['distill']['encoder']['weight'] = dict(SHARE, every=3)
    distiller = MODELS.build(model_config).eval()
    weight, values = distiller.distill['encoder'].weight, []
    for iteration in range(2, 7):
        distiller.student.decode_head.conv_seg.weight.data *= 3  # of the task's gradient
        at(distiller, iteration).loss(*batch)
        values.append(weight.value)
    assert values[0] != values[1]
    assert values[1] == values[2] == values[3] != values[4]


def test_gradient_share_is_multiplied_by_its_schedule(model_config, batch):
    schedule = dict(type='linear_decay', begin=0, end=4)
    model_config['distill']['encoder'].update(weight=dict(SHARE), schedule=schedule)
    distiller = at(MODELS.build(model_config).eval(), 1)
    (ratio,) = [g.ratio for n, g in term_gradients(distiller, *batch).items() if n == 'encoder']
    assert ratio == pytest.approx(0.75 * SHARE['share'])
    at(distiller, 4)
    assert distiller.loss(*batch)['distill.encoder'] == 0


def test_gradient_share_needs_its_hook(model_config, batch):
    model_config['distill']['encoder']['weight'] = SHARE
    with pytest.raises(UserError, match='model.distill.encoder.weight: .*LossWeightHook'):
        MODELS.build(model_config).loss(*batch)


def test_gradient_share_rejects_a_term_without_gradient(model_config, batch):
    @MODELS.register_module(name='FlatLoss', force=True)
    class _FlatLoss(nn.Module):
        def forward(self, student, teacher):
            return 1 + 0 * student.sum()

    model_config['distill'] = dict(
        encoder=dict(
            student='backbone[1]',
            teacher='backbone[3]',
            loss=dict(type='mmkd.FlatLoss'),
            weight=SHARE,
        )
    )
    distiller = at(MODELS.build(model_config), 0)
    message = 'model.distill.encoder: weight=gradient_share: expected a gradient .*it is zero'
    with pytest.raises(UserError, match=message):
        distiller.loss(*batch)


def test_gradient_share_waits_for_a_batch_with_labels(model_config, batch):
    tap = 'decode_head.conv_seg'
    logits = dict(student=tap, teacher=tap, loss=dict(type='LogitKDLoss'), weight=SHARE)
    model_config['distill'] = dict(logits=logits)
    distiller = MODELS.build(model_config).eval()
    images, samples = batch
    known = [sample.gt_sem_seg.data.clone() for sample in samples]
    for sample in samples:
        sample.gt_sem_seg.data[:] = 255
    at(distiller, 0).loss(images, samples)
    assert distiller.distill['logits'].weight.value == 0
    for sample, labels in zip(samples, known, strict=True):
        sample.gt_sem_seg.data[:] = labels
    at(distiller, 1).loss(images, samples)
    assert distiller.distill['logits'].weight.value > 0


def test_gradient_share_rejects_activation_checkpointing(model_config):
    model_config['student']['backbone'] = dict(
        type='ResNetV1c', depth=18, num_stages=4, out_indices=(0, 1, 2), with_cp=True
    )
    model_config['student']['decode_head'].update(in_channels=256)
    model_config['student']['auxiliary_head'] = None
    model_config['distill']['encoder']['weight'] = SHARE
    message = 'encoder: weight=gradient_share: .*its backbone.with_cp=True; set it to False'
    with pytest.raises(UserError, match=message):
        MODELS.build(model_config)


def test_teacher_of_terms_without_weight_does_not_run(model_config, batch):
    for term in model_config['distill'].values():
        term['weight'] = 0
    distiller = MODELS.build(model_config).train()
    distiller.teacher = None
    total, _ = distiller.parse_losses(distiller.loss(*batch))
    total.backward()
    assert all(value == 0 for name, value in distiller.loss(*batch).items() if 'distill' in name)


def test_term_of_zero_weight_gives_parameters_zero_gradients(model_config, batch):
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
def test_build_term_bad_name_raises_user_error(model_config, name):
    model_config['distill'] = {name: model_config['distill']['encoder']}
    with pytest.raises(UserError, match=f'model.distill.{name}: expected an identifier'):
        MODELS.build(model_config)


def test_build_term_without_gradient_is_rejected(distiller, batch):
    distiller.train()
    distiller.student.backbone.learning_to_downsample.requires_grad_(False)
    distiller.student.backbone.global_feature_extractor.requires_grad_(False)
    with pytest.raises(UserError, match='model.distill.encoder: .* expected a gradient.*frozen'):
        distiller.loss(*batch)


def test_term_without_gradient_that_begins_later_is_rejected_in_the_first_step(model_config, batch):
    model_config.distill.encoder.schedule = dict(type='linear_warmup', begin=100, end=200)
    distiller = MODELS.build(model_config)
    for term in distiller.distill.values():
        term.set_time(0, 0)
    distiller.student.backbone.learning_to_downsample.requires_grad_(False)
    distiller.student.backbone.global_feature_extractor.requires_grad_(False)
    with pytest.raises(UserError, match='model.distill.encoder: .* expected a gradient.*frozen'):
        distiller.loss(*batch)


def test_term_without_student_gradient_but_adapter_is_rejected(model_config, batch):
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
    with pytest.raises(UserError, match=r"student tap 'backbone\[1\]': expected a gradient"):
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
    loss_inputs=dict(weights=FUSED),
    loss=dict(type='WeighedLoss'),
)


def test_term_loss_inputs_reach_the_loss(model_config, batch):
    model_config['distill'] = dict(extra=EXTRA)
    distiller = MODELS.build(model_config).eval()
    images, _ = batch
    student = distiller.student.backbone(images)[1].mean()
    with record(distiller.teacher.network, map(parse_tap, ['backbone[3]', FUSED])) as recording:
        distiller.teacher.network(images)
    teacher = recording[parse_tap('backbone[3]')].mean()
    weight = recording[parse_tap(FUSED)].mean()
    expected = (weight * (student - teacher)).square()
    torch.testing.assert_close(distiller.loss(*batch)['distill.extra'], expected)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(loss_inputs=None), 'loss_inputs=nothing: expected weights, which WeighedLoss takes'),
        (
            dict(loss_inputs=dict(weight=FUSED)),
            'loss_inputs=weight: expected weights, which Weighed',
        ),
        (
            dict(loss=dict(type='CWDLoss')),
            '=weights: expected nothing, which CWDLoss takes',
        ),
        (dict(loss_inputs=FUSED), "loss_inputs='decode_head.fusion_conv': expected a dict"),
        (dict(loss_inputs=dict(weights='fusion')), "tap 'fusion'"),
    ],
)
def test_term_bad_loss_inputs_raise_user_error(model_config, changes, message):
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
def test_distiller_of_mmdet_configs_gives_finite_losses(tmp_path, name):
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


def test_tap_of_detector_scores_equals_task_loss_scores(detection):
    """The student's head runs once, and the term's gradient goes through what it returned."""
    distiller = MODELS.build(detection).train()
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    samples = [blank_samples(distiller.student, (64, 64))[0] for _ in range(2)]
    with record(distiller.student, [parse_tap('bbox_head')]) as recording:
        losses = distiller.loss(image, samples)
    assert recording.calls() == {'bbox_head': 1}
    scores = recording[parse_tap('bbox_head[0][1]')]
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
        ('student', 'neck[5]', r'an entry \[5\], but neck is a tuple of 5'),
        ('teacher', 'rpn_head[0]', "'rpn_head': RetinaNet has no such module"),
    ],
)
def test_tap_of_detector_wrong_path_raises_user_error(detection, side, tap, message):
    detection.distill.scores[side] = tap
    with pytest.raises(UserError, match=f'model.distill.scores: .*{message}'):
        MODELS.build(detection)


@pytest.mark.parametrize('part, kind', [(0, 'scores'), (1, 'deltas')])
def test_term_of_other_anchors_of_the_same_number_raises_user_error(detection, part, kind):
    """Their outputs have one shape, but the student would learn the scores of other boxes."""
    detection.student.bbox_head.anchor_generator.octave_base_scale = 2
    tap = f'bbox_head[{part}][1]'
    term = dict(student=tap, teacher=tap, loss=dict(type='FeatureMSELoss'))
    detection.distill = {kind: term}
    expected = rf"model.distill.{kind}: tap .*\[1\]': anchors of .*expected the teacher's"
    with pytest.raises(UserError, match=expected):
        MODELS.build(detection)
    detection.distill[kind].adapter = dict(type='Conv2d', kernel_size=1)
    assert MODELS.build(detection).distill.keys() == {kind}


def test_term_that_takes_labels_trains_without_them_on_boxes(detection):
    detection.distill = dict(
        scores=dict(
            student='bbox_head[0][1]', teacher='bbox_head[0][1]', loss=dict(type='LogitKDLoss')
        )
    )
    distiller = MODELS.build(detection).train()
    samples = blank_samples(distiller.student, (64, 64))
    assert distiller.loss(torch.randn(1, 3, 64, 64), samples)['distill.scores'] > 0


def test_teacher_folds_batch_norms_that_no_tap_reads(model_config, batch):
    def tapping(teacher):
        decoder = dict(model_config['distill']['decoder'], teacher=teacher)
        model_config['distill'] = dict(decoder=decoder)
        return MODELS.build(model_config)

    # The head has five: one for each of four maps, one where they are fused.
    count, recording = count_batch_norms(tapping('decode_head.fusion_conv').run_teacher, *batch)
    assert count == 0
    whole = recording[parse_tap('decode_head.fusion_conv')]
    distiller = tapping('decode_head.fusion_conv.conv')
    count, recording = count_batch_norms(distiller.run_teacher, *batch)
    assert count == 0  # the pass ends at the tap, before the one that stays
    fused = recording[parse_tap('decode_head.fusion_conv.conv')]
    block = distiller.teacher.network.decode_head.fusion_conv
    torch.testing.assert_close(block.activate(block.norm(fused)), whole, rtol=1e-5, atol=1e-5)
