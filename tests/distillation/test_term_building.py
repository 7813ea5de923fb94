"""Networks of all kinds as student and as teacher: one of each kind that needs something special.

They are small variants of the zoos' own models, without pretrained weights. What the pass over the
batch leaves behind is compared with the network built alone.
"""

import copy
import random

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import BaseDataElement
from mmseg.models import EncoderDecoder
from torch import nn

from mmkd.analysis.zoo import zoo_model
from mmkd.config.load import load_config
from mmkd.distillation.recording import record
from mmkd.distillation.sample_batch import lend_batch
from mmkd.distillation.tap import parse_tap
from mmkd.errors import UserError
from mmkd.openmmlab.passes import run_without_loss
from mmkd.openmmlab.samples import synthetic_batch
from mmkd.registry import MODELS

SEGMENTOR = 'configs/students/fast_scnn_streets.py'
DETECTOR = 'configs/students/retinanet_r18half_streets.py'


def small_model(name: str, **changes: object) -> dict:
    """Return a zoo config's model with a ResNet-18 in place of its ResNet-50, and changes."""
    model = zoo_model(name)
    backbone = model.backbone
    if backbone.get('depth') == 50:
        backbone.depth = 18
        neck = model.get('neck')
        for part in (*(neck if isinstance(neck, list) else [neck]), model.get('decode_head')):
            if isinstance(part, dict) and isinstance(part.get('in_channels'), list):
                part.in_channels = [channels // 4 for channels in part.in_channels]
    for path, value in changes.items():
        *parents, last = path.split('__')
        node = model
        for key in parents:
            node = node[key]
        node[last] = value
    return model


def write_teacher(model: dict, folder) -> dict:
    """Return a teacher's ``config`` and ``checkpoint`` with random weights."""
    files = dict(config=str(folder / 'teacher.py'), checkpoint=str(folder / 'teacher.pth'))
    Config(dict(model=model, default_scope=None)).dump(files['config'])
    torch.save(MODELS.build(copy.deepcopy(model)).state_dict(), files['checkpoint'])
    return files


def distil(student: dict, teacher: dict, taps: tuple[str, str], loss='ActivationATLoss', **term):
    """Return a Distiller of one term, ``at``."""
    one = dict(student=taps[0], teacher=taps[1], loss=dict(type=loss), **term)
    return MODELS.build(
        dict(
            type='mmkd.Distiller',
            student=copy.deepcopy(student),
            teacher=teacher,
            distill=dict(at=one),
        )
    )


@pytest.fixture(scope='session')
def detector_teacher(tmp_path_factory):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return write_teacher(zoo_model(DETECTOR), tmp_path_factory.mktemp('detector'))


STUDENTS = {
    'its loss differs in eval mode': (
        'mmseg::pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py', {}, 'backbone[0]'),
    'instance masks and a semantic map': (
        'mmdet::htc/htc_r50_fpn_1x_coco.py', {}, 'backbone[-1]'),
    'a preprocessor that adds annotations': (
        'mmdet::boxinst/boxinst_r50_fpn_ms-90k_coco.py', {}, 'backbone[-1]'),
    'one image size': (
        'mmseg::mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py',
        dict(backbone__num_layers=4, backbone__out_indices=(0, 1, 2, 3),
             backbone__img_size=(96, 96)), 'backbone[-1]'),
    'the epoch': ('mmdet::tood/tood_r50_fpn_1x_coco.py', {}, 'backbone[-1]'),
    'initialised weights': (
        'mmdet::queryinst/queryinst_r50_fpn_1x_coco.py', {}, 'backbone[-1]'),
}  # fmt: skip


@pytest.mark.parametrize('need', STUDENTS)
def test_build_student_with_a_need_trains_one_step(need, detector_teacher, teacher_files):
    name, changes, tap = STUDENTS[need]
    library = name.partition('::')[0]
    init_default_scope(library)
    config, checkpoint = teacher_files
    teacher = dict(config=config, checkpoint=checkpoint)
    teacher = teacher if library == 'mmseg' else detector_teacher
    student = small_model(name, **changes)
    torch.manual_seed(0)
    alone = MODELS.build(copy.deepcopy(student)).state_dict()
    torch.manual_seed(0)
    hub = copy.deepcopy(dict(MessageHub.get_current_instance().runtime_info))
    distiller = distil(student, teacher, (tap, 'backbone[3]'))
    assert MessageHub.get_current_instance().runtime_info == hub
    started = distiller.student.state_dict()
    assert alone.keys() == started.keys()
    assert all(torch.equal(alone[key], started[key]) for key in alone)
    assert distiller.student.training
    assert not any(getattr(m, '_is_init', False) for m in distiller.student.modules())


@pytest.mark.parametrize(
    'name, tap',
    [
        ('mmseg::ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py', 'decode_head.1.conv_seg'),
        ('mmseg::maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py', 'backbone[-1]'),
        (
            'mmseg::maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py',
            'decode_head.pixel_decoder.mask_feature',
        ),
    ],
)
def test_build_teacher_without_mode_tensor_is_read(name, tap, tmp_path):
    teacher = write_teacher(small_model(name), tmp_path)
    distiller = distil(zoo_model(SEGMENTOR), teacher, ('backbone[2]', tap))
    images = torch.randn(1, 3, 64, 64)
    network, tap = distiller.teacher.network, parse_tap(tap)
    with torch.no_grad(), record(network, [tap]) as expected:
        network(images, None, mode='predict')
    read = distiller.run_teacher(images, None)[tap]
    torch.testing.assert_close(read, expected[tap])


@MMENGINE_MODELS.register_module()
class SilentSegmentor(EncoderDecoder):
    """Its ``train`` returns nothing, and its head fails."""

    def train(self, mode=True):
        super().train(mode)

    def _forward(self, inputs, data_samples=None):
        self.extract_feat(inputs)
        raise RuntimeError('the head fails')


def test_build_teacher_that_fails_behind_its_last_tap_is_read(tmp_path):
    teacher = write_teacher(dict(zoo_model(SEGMENTOR), type='SilentSegmentor'), tmp_path)
    distiller = distil(zoo_model(SEGMENTOR), teacher, ('backbone[2]', 'backbone[2]'))
    assert not distiller.teacher.network.training
    assert distiller.run_teacher(torch.randn(1, 3, 64, 64), None).calls() == {'backbone': 1}
    with pytest.raises(UserError, match='model.teacher: the pass .* fails .*: the head fails'):
        distil(zoo_model(SEGMENTOR), teacher, ('backbone[2]', 'decode_head.conv_seg'))


def fill_weight(teacher: dict, key: str, value: float) -> dict:
    state = torch.load(teacher['checkpoint'], weights_only=True)
    state[key].view(-1)[0] = value
    torch.save(state, teacher['checkpoint'])
    return teacher


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_build_teacher_with_a_weight_that_is_not_finite(value, tmp_path):
    """It is refused unless it lies behind the taps, as an embedding of a DINO may."""
    model = zoo_model(SEGMENTOR)
    files = fill_weight(write_teacher(model, tmp_path), 'decode_head.conv_seg.bias', value)
    distiller = distil(model, files, ('backbone[2]', 'backbone[2]'))
    read = distiller.run_teacher(torch.randn(1, 3, 64, 64), None)[parse_tap('backbone[2]')]
    assert torch.isfinite(read).all()
    refused = (
        r'^model.teacher.checkpoint=.*teacher.pth: decode_head.conv_seg.bias: expected finite '
        'floating-point numbers'
    )
    with pytest.raises(UserError, match=refused):
        distil(model, files, ('decode_head.conv_seg', 'decode_head.conv_seg'))
    failing = dict(model, type='SilentSegmentor')
    Config(dict(model=failing, default_scope=None)).dump(files['config'])
    with pytest.raises(UserError, match=refused):
        distil(model, files, ('backbone[2]', 'decode_head.conv_seg'))


def test_build_teacher_of_attention_with_a_weight_that_is_not_finite_is_refused(tmp_path):
    model = zoo_model('configs/teachers/segformer_b0_streets.py')
    files = fill_weight(write_teacher(model, tmp_path), 'decode_head.conv_seg.bias', float('nan'))
    attention = 'attention(backbone.layers.3.1.0.attn)'
    taps = (attention, attention)
    with pytest.raises(UserError, match='decode_head.conv_seg.bias: expected finite'):
        distil(model, files, taps, loss='SpectralGraphLoss')


def test_build_student_whose_sampler_remembers_leaves_no_trace(detector_teacher):
    """Libra R-CNN's sampler of negatives sets its ``floor_thr`` to 0 when it first samples.

    From then on it draws other boxes, so a pass that is not in a copy changes the first step. No
    buffer shows it.
    """
    init_default_scope('mmdet')
    student = small_model('mmdet::libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py')

    def seeded():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    def states():
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
        )

    seeded()
    alone = MODELS.build(copy.deepcopy(student)).train()
    after_alone = states()
    seeded()
    built = distil(student, detector_teacher, ('backbone[-1]', 'backbone[3]')).student.train()
    assert states() == after_alone
    assert built.roi_head.bbox_sampler.neg_sampler.floor_thr == -1
    losses = []
    for network in (alone, built):
        batch = synthetic_batch(network, (128, 128), 1)
        seeded()
        losses.append(network.parse_losses(network(*batch, mode='loss'))[1])
        assert network.roi_head.bbox_sampler.neg_sampler.floor_thr == 0
    assert losses[0] == losses[1]


def test_build_tap_of_layers_is_rejected(detector_teacher, tmp_path):
    """DETR's head answers for all layers of its decoder at once: (layers, N, queries, classes)."""
    init_default_scope('mmdet')
    detr = small_model('mmdet::detr/detr_r50_8xb2-150e_coco.py', neck__in_channels=[512])
    teacher = write_teacher(detr, tmp_path)
    taps = ('bbox_head[0]', 'bbox_head[0]')
    with pytest.raises(UserError, match=r'model.distill.at: .*\(6, 2, 100, 81\) of 2 images'):
        distil(detr, teacher, taps, loss='CWDLoss')
    assert distil(detr, teacher, ('backbone[-1]', 'backbone[-1]'), loss='CWDLoss')


@MMENGINE_MODELS.register_module()
class Classifier(BaseModel):
    """A network of no library that MMKD knows; ``seen`` are the batches that it was tried on."""

    seen = []

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor)
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.scale = self.stem.weight.mean()  # computed: PyTorch's deepcopy refuses it

    def forward(self, inputs, data_samples=None, mode='tensor'):
        Classifier.seen.append((mode, tuple(inputs.shape), self.training))
        x = self.stem(inputs)
        return dict(loss=x.square().mean()) if mode == 'loss' else x


def test_build_lent_batch_is_preprocessed_and_trained_on(teacher_files):
    config, checkpoint = teacher_files
    teacher = dict(config=config, checkpoint=checkpoint)
    student = dict(
        type='Classifier', data_preprocessor=dict(type='ImgDataPreprocessor', mean=[0], std=[1])
    )
    samples = [BaseDataElement(), BaseDataElement()]
    raw = dict(inputs=[torch.zeros(3, 96, 64, dtype=torch.uint8)] * 2, data_samples=samples)
    Classifier.seen.clear()
    with lend_batch(lambda: raw):
        distil(student, teacher, ('stem', 'backbone[0]'))
    assert Classifier.seen == [('loss', (2, 3, 96, 64), True)]
    assert raw['inputs'][0].dtype == torch.uint8
    Classifier.seen.clear()
    distil(student, teacher, ('stem', 'backbone[0]'))
    assert Classifier.seen == [('tensor', (2, 3, 64, 64), True)]


def test_build_unreadable_batch_falls_back_with_one_line(teacher_files, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmkd.distillation.sample_batch.print_log', lambda text, _: lines.append(text)
    )
    config, checkpoint = teacher_files
    student = dict(type='Classifier')
    teacher = dict(config=config, checkpoint=checkpoint)

    def read():
        raise FileNotFoundError('no such image')

    with lend_batch(read):
        distil(student, teacher, ('stem', 'backbone[0]'))
    assert lines == [
        'distillation terms are tried on a synthetic batch: no batch of the training data can be '
        'read: FileNotFoundError: no such image'
    ]


@pytest.mark.parametrize('name, scope', [(SEGMENTOR, 'mmseg'), (DETECTOR, 'mmdet')])
def test_synthetic_batch_is_what_the_network_trains_on(name, scope):
    init_default_scope(scope)
    network = MODELS.build(zoo_model(name))
    images, samples = synthetic_batch(network, (64, 96), 2)
    assert images.shape == (2, 3, 64, 96) and len(samples) == 2
    total, _ = network.parse_losses(network(images, samples, mode='loss'))
    assert torch.isfinite(total)
    run_without_loss(network, images, samples)


def test_build_adapter_weights_depend_on_the_seed_alone(teacher_files):
    """They are drawn after the student's, the losses' and the teacher's, by the seed plus one."""
    config, checkpoint = teacher_files
    teacher = dict(config=config, checkpoint=checkpoint)
    student = zoo_model(SEGMENTOR)
    term = dict(loss='FeatureMSELoss', adapter=dict(type='Conv2d', kernel_size=1))
    taps = ('backbone[1]', 'backbone[3]')

    def adapter():
        torch.manual_seed(4)
        distiller = distil(student, teacher, taps, **term)
        return distiller.distill['at'].adapter[0].weight

    weight = adapter()
    pixels = torch.randint(0, 256, (2, 3, 96, 128), dtype=torch.uint8)
    _, samples = synthetic_batch(MODELS.build(copy.deepcopy(student)), (96, 128), 2)
    with lend_batch(lambda: dict(inputs=list(pixels), data_samples=samples)):
        assert torch.equal(adapter(), weight)
    torch.manual_seed(5)
    MODELS.build(load_config(config).model)
    assert torch.equal(nn.Conv2d(128, 64, 1).weight, weight)
