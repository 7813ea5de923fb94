import copy
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmkd.configs import (
    check_dataloaders,
    is_distillation,
    load_config,
    load_work_dir_config,
    model_config,
    student_config,
)
from mmkd.errors import UserError
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted(
    p.relative_to(ROOT).as_posix() for p in ROOT.glob('configs/**/*.py') if '_base_' not in p.parts
)


@pytest.mark.parametrize('path', CONFIGS)
def test_every_config_builds(path, random_checkpoints):
    config = load_config(path)
    if is_distillation(config):
        config.model.teacher.checkpoint = random_checkpoints(config.model.teacher.config)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        MODELS.build(config.model)
    for key in ('train_dataloader', 'val_dataloader', 'train_cfg', 'optim_wrapper'):
        assert key in config


@pytest.mark.parametrize('path', CONFIGS)
def test_no_schedule_outlasts_its_run(path):
    config = load_config(path)
    for term in (config.model.get('distill') or {}).values():
        schedule = term and term.get('schedule')
        assert not schedule or schedule.end <= config.train_cfg.max_iters


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'ablations' in p])
def test_an_ablation_changes_little(path):
    assert len((ROOT / path).read_text().splitlines()) <= 10


@pytest.mark.parametrize(
    'name, low, high, filter_on',
    [
        ('basic', (1, 0), (0, 1), 'both'),
        ('reversed', (0, 1), (1, 0), 'both'),
        ('teacher_only', (1, 0), (0, 1), 'teacher'),
        ('student_only', (1, 0), (0, 1), 'student'),
        ('ratio_25', (0.25, 0.75), (0.25, 0.75), 'both'),
        ('ratio_50', (0.5, 0.5), (0.5, 0.5), 'both'),
        ('ratio_75', (0.75, 0.25), (0.75, 0.25), 'both'),
    ],
)
def test_strategies_say_what_their_names_say(name, low, high, filter_on):
    terms = load_config(f'configs/ablations/fastscnn_{name}.py').model.distill
    for term, (lo, hi) in ((terms.encoder, low), (terms.decoder, high)):
        assert (term.loss.low, term.loss.high) == (lo, hi)
        assert term.loss.get('filter_on', 'both') == filter_on


LEARNED = dict(affinity=dict(type='QueryKeyAffinity'))


@pytest.mark.parametrize(
    'name, objects, spectrum',
    [
        ('spectral', {}, {}),
        ('spectral_freq', {}, {}),
        ('spectral_select', dict(heads='select'), dict(heads='select')),
        ('spectral_laplacian', {}, dict(graph='laplacian')),
        ('spectral_wasserstein', {}, dict(distance='wasserstein')),
        ('spectral_energy_80', dict(energy=0.8), {}),
        ('spectral_energy_90', dict(energy=0.9), {}),
        ('spectral_energy_100', dict(energy=1.0), {}),
        ('spectral_gamma_0', dict(gamma=0.0), {}),
        ('spectral_gamma_100', dict(gamma=1.0), {}),
        ('spectral_query_key', LEARNED, LEARNED),
        ('spectral_graph_only', {}, None),
        ('spectral_spectrum_only', None, {}),
    ],
)
def test_graph_ablations_say_what_their_names_say(name, objects, spectrum):
    terms = load_config(f'configs/ablations/fastscnn_{name}.py').model.distill.to_dict()
    for term, loss, options in (
        ('objects', 'SpectralGraphLoss', objects),
        ('spectrum', 'SpectrumLoss', spectrum),
    ):
        found = terms.pop(term)
        assert (found and found['loss']) == (
            options if options is None else dict(type=loss, **options)
        )
    frequency = load_config('configs/segformer_fastscnn_freq.py').model.distill.to_dict()
    assert terms == (frequency if name == 'spectral_freq' else {})


@pytest.mark.parametrize(
    'name, student, affinity',
    [
        ('spectral', 'attention(backbone.layers.2.blocks.5.op.scan)', 'MambaStateAffinity'),
        ('spectral_freq', 'attention(backbone.layers.2.blocks.5.op.scan)', 'MambaStateAffinity'),
        ('spectral_similarity', 'backbone.layers.2.blocks', 'SimilarityAffinity'),
        ('spectral_query_key', 'backbone.layers.2.blocks', 'QueryKeyAffinity'),
    ],
)
def test_vmambas_graphs_are_what_their_names_say(name, student, affinity):
    terms = load_config(f'configs/ablations/vmamba_{name}.py').model.distill
    for term in (terms.objects, terms.spectrum):
        assert term.student == student and term.loss.affinity == dict(type=affinity)
    assert ('stage1' in terms) == (name == 'spectral_freq')


FLAGSHIPS = dict(
    fastscnn='segformer_fastscnn_freq',
    camvid='segformer_fastscnn_freq_camvid_pretrained',
    yolo11='yolo11l_yolo11s_at',
    vmamba='segformer_vmamba_freq',
)


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'ablations' in p])
def test_ablations_differ_in_their_terms_only(path):
    flagship = FLAGSHIPS[Path(path).name.split('_')[0]]
    config, basic = (load_config(p) for p in (path, f'configs/{flagship}.py'))
    assert student_config(config).to_dict() == student_config(basic).to_dict()
    keys = ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'randomness')
    for key in (*keys, 'load_from'):
        assert config[key] == basic[key], key
    if 'teacher' in config.model:
        assert config.model.teacher == basic.model.teacher


@pytest.mark.parametrize(
    'name, shares, filter_on',
    [
        ('basic', (0, 0, 1, 1), 'both'),
        ('reversed', (1, 1, 0, 0), 'both'),
        ('teacher_only', (0, 0, 1, 1), 'teacher'),
        ('student_only', (0, 0, 1, 1), 'student'),
        ('split_13', (0, 1, 1, 1), 'both'),
        ('split_31', (0, 0, 0, 1), 'both'),
        ('ratio_50', (0.5, 0.5, 0.5, 0.5), 'both'),
        ('ratio_rising', (0.2, 0.4, 0.6, 0.8), 'both'),
        ('ratio_falling', (0.8, 0.6, 0.4, 0.2), 'both'),
    ],
)
def test_vmambas_strategies_say_what_their_names_say(name, shares, filter_on):
    terms = load_config(f'configs/ablations/vmamba_{name}.py').model.distill
    assert len(terms) == 4
    for i, share in enumerate(shares):
        term = terms[f'stage{i + 1}']
        assert term.student == f'backbone.layers.{i}.blocks'
        assert term.teacher == f'decode_head.convs.{i}'
        assert (term.loss.low, term.loss.high) == pytest.approx((share, 1 - share))
        assert term.loss.get('filter_on', 'both') == filter_on


def test_attention_decays_to_zero_over_the_whole_run():
    for name in ('segformer_fastscnn_at', 'segformer_fastscnn_at_camvid'):
        config = load_config(f'configs/{name}.py')
        beta, alpha = config.model.distill.attention, config.model.distill.logits
        expected = dict(type='cosine_decay', begin=0, end=config.train_cfg.max_iters)
        assert beta.schedule == expected and 'schedule' not in alpha


@pytest.mark.parametrize(
    'recipe',
    [
        'fastscnn_freq', 'fastscnn_at', 'fastscnn_freq_spectral', 'vmamba_freq',
        'vmamba_freq_spectral',
    ],
)  # fmt: skip
def test_data_sets_change_nothing_but_the_data_and_the_teacher(recipe):
    streets = load_config(f'configs/segformer_{recipe}.py').model.to_dict()
    camvid = load_config(f'configs/segformer_{recipe}_camvid.py').model.to_dict()
    assert streets.pop('teacher') != camvid.pop('teacher')
    if recipe == 'fastscnn_at':  # beta is 0 at the end of either schedule
        for model in (streets, camvid):
            del model['distill']['attention']['schedule']['end']
    assert streets == camvid


def test_student_config_is_the_student_alone():
    config = load_config('configs/segformer_fastscnn_freq.py')
    alone = student_config(config)
    assert alone.model == load_config('configs/students/fast_scnn_streets.py').model
    assert 'custom_imports' not in alone and 'train_dataloader' not in alone
    assert alone.test_dataloader == config.test_dataloader


def test_student_config_keeps_the_import_that_its_layers_need():
    config = Config(dict(model=dict(type='EncoderDecoder', backbone=dict(type='mmkd.Own'))))
    assert student_config(config).custom_imports.imports == ['mmkd']


def test_preprocessor_beside_the_model_moves_inside():
    config = Config(dict(model=dict(type='A'), data_preprocessor=dict(type='P')))
    assert model_config(config) == dict(type='A', data_preprocessor=dict(type='P'))


@pytest.mark.parametrize(
    'name', ['no/such.py', 'mmseg::no/such.py', 'mmpretrain::a/b.py', 'nolibrary::a.py', '::a.py']
)
def test_missing_config_is_named(name, monkeypatch):
    monkeypatch.setattr('subprocess.Popen.__init__', None)  # nothing is installed on the way
    with pytest.raises(UserError, match=f'config {name}'):
        load_config(name)


def test_relative_configs_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('configs/students/fast_scnn_streets.py').model.type == 'EncoderDecoder'


def test_data_roots_inside_wrappers_are_checked(tmp_path):
    (tmp_path / 'there').mkdir()
    parts = [dict(data_root=str(tmp_path / 'there')), dict(data_root='no/data')]
    wrapped = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=parts))
    config = Config(dict(loader=dict(dataset=wrapped)))
    with pytest.raises(UserError, match=r'loader.dataset.dataset.datasets.1.data_root=no/data'):
        check_dataloaders(config, 'loader', 'val_dataloader')
    parts.pop()
    check_dataloaders(Config(dict(loader=dict(dataset=wrapped))), 'loader')


def without_scope(node):
    if isinstance(node, dict):
        return {k: without_scope(v) for k, v in node.items() if k != '_scope_' and v is not None}
    return [without_scope(v) for v in node] if isinstance(node, list | tuple) else node


@pytest.mark.parametrize(
    'name, own, feature, head',
    [
        ('retinanet', 'retinanet/retinanet_r50_fpn_2x_coco.py', 0.005, 0.02),
        ('gfl', 'gfl/gfl_r50_fpn_ms-2x_coco.py', 0.1, 0.05),
        ('fcos', 'fcos/fcos_r50-caffe_fpn_gn-head_ms-640-800-2x_coco.py', 0.01, 0.05),
        ('faster_rcnn', 'faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py', 0.002, 0.1),
    ],
)
def test_frs_trains_mmdets_students_by_the_papers_weights(name, own, feature, head):
    config, own = load_config(f'configs/{name}_r101_r50_frs.py'), load_config(f'mmdet::{own}')
    assert without_scope(config.model.student.to_dict()) == without_scope(own.model.to_dict())
    assert config.optim_wrapper == own.optim_wrapper
    seed, *pipeline = without_scope(config.to_dict()['train_dataloader']['dataset']['pipeline'])
    assert pipeline == without_scope(own.to_dict()['train_dataloader']['dataset']['pipeline'])
    terms = config.model.distill
    assert (terms.feature.weight, terms.head.weight) == (feature, head)
    for term in terms.values():
        assert term.schedule == dict(type='linear_warmup', begin=0, end=500)
        assert len(term.student) == len(term.teacher) == 5
    # The address names its config, but for the underscores of MMDetection 2.
    teacher = Path(config.model.teacher.config).stem.replace('-', '_').replace('ms_', 'mstrain_')
    address = Path(config.model.teacher.checkpoint)
    assert address.parent.name.replace('-', '_') == teacher
    assert address.name.startswith(address.parent.name)


YOLO11_LAYERS = (6, 8, 13, 16, 19, 22)
YOLO11_AT = [p for p in CONFIGS if 'yolo11' in p and '_at' in p]


@pytest.mark.parametrize('path', [*YOLO11_AT, 'configs/yolo11l_yolo11s_freq.py'])
def test_yolo11_is_distilled_at_six_layers_of_equal_weight(path):
    terms = load_config(path).model.distill
    assert len(terms) == 6
    for i in YOLO11_LAYERS:
        assert terms[f'layer{i}'].student == terms[f'layer{i}'].teacher == f'yolo[{i}]'
        assert 'weight' not in terms[f'layer{i}'] and 'schedule' not in terms[f'layer{i}']
        if path in YOLO11_AT:
            at = dict(type='ActivationATLoss', mapping='sum', p=2, distance='l2_batch')
            assert terms[f'layer{i}'].loss == at


@pytest.mark.parametrize('data, classes', [('', 4), ('_voc', 20), ('_bccd', 3), ('_coco', 80)])
def test_yolo11_learns_on_other_data_from_another_teacher_and_nothing_else(data, classes):
    config = load_config(f'configs/yolo11l_yolo11s_at{data}.py')
    model = config.model.to_dict()
    teacher = load_config(model.pop('teacher')['config']).model
    assert model['student']['bbox_head'].pop('num_classes') == classes
    assert teacher.bbox_head.num_classes == classes and teacher.backbone.scale == 'l'
    voc = load_config('configs/yolo11l_yolo11s_at_voc.py').model.to_dict()
    voc.pop('teacher')
    voc['student']['bbox_head'].pop('num_classes')
    assert model == voc


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'yolo' in p])
def test_yolo_ends_its_mosaic_amid_training(path):
    config = load_config(path)
    processes = 4 if config.train_dataloader.batch_size == 16 else 1
    draws = config.train_cfg.max_iters * config.train_dataloader.batch_size * processes
    mixed = config.train_dataloader.dataset.skip_from_draw
    assert 0.8 < mixed / draws < 0.91


def test_yolos_sgd_steps_as_the_reference_does():
    """Ours on the mean over 64 images, the reference's on the sum: the weights stay equal."""
    wrapper = load_config('configs/students/yolo11s_voc.py').optim_wrapper
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Linear(3, 4, bias=False), torch.nn.BatchNorm1d(4))
    theirs = copy.deepcopy(ours).double()
    ours = ours.double()
    groups = [
        dict(params=[theirs[0].weight], weight_decay=5e-4),
        dict(params=list(theirs[1].parameters())),
    ]
    reference = torch.optim.SGD(groups, lr=0.01, momentum=0.937, nesterov=True)
    optimiser = build_optim_wrapper(ours, wrapper)
    images = torch.randn(64, 3, dtype=torch.float64)
    for scale in (1e-3, 1.0, 3.0):  # without and with the clip
        optimiser.update_params(scale * ours(images).square().sum(1).mean())
        reference.zero_grad()
        (scale * theirs(images).square().sum()).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 10)
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_yolos_average_decays_as_the_reference_does():
    (hook,) = load_config('configs/students/yolo11n_bccd.py').custom_hooks
    config = dict(type=hook['ema_type'], momentum=hook['momentum'], gamma=hook['gamma'])
    source = torch.nn.Linear(1, 1, bias=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        average = MODELS.build(config, default_args=dict(model=source))
    average.update_parameters(source)  # the first is a copy
    expected = source.weight.item()
    for step in range(2, 40):
        source.weight.data += 1
        average.update_parameters(source)
        decay = 0.9999 * (1 - math.exp(-step / 2000))
        expected = decay * expected + (1 - decay) * source.weight.item()
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)


def test_what_is_no_python_is_named(tmp_path):
    (tmp_path / 'own.py').write_text('model = dict(\n')
    message = 'config .*own.py, or one that it inherits, line 1: .* was never closed'
    with pytest.raises(UserError, match=message):
        load_config(str(tmp_path / 'own.py'))


@pytest.mark.parametrize(
    'text, message',
    [
        ("model = dict(type='A', weight=wieght)", r'NameError: .*wieght.* \(.*own.py, line 1\)'),
        ("_base_ = 'none.py'\nx = _base_.a.b", r"AttributeError: 'NoneType' .* line 2\)"),
        ("_base_ = ['none.py', 'same.py']", 'KeyError: .*Duplicate key.*model'),
        ("_base_ = 'mmsegg::a/b.py'", 'AssertionError: .* mmsegg config'),
        ("_base_ = 'no.py'", 'FileNotFoundError: .*no.py'),
        ("_base_ = 'none.py'\nmodel = dict(term=dict(a=1))", 'term is a dict.* NoneType.*_delete_'),
        ("custom_imports = dict(imports=['mmkd', 'my_lossess'])", 'custom_imports: .*my_lossess'),
        ("custom_imports = ['mmkd']", r"custom_imports=\['mmkd'\]; allowed: dict\(imports"),
    ],
)
def test_mistakes_are_one_line_that_names_the_config(tmp_path, text, message):
    (tmp_path / 'none.py').write_text('a = None\nmodel = dict(term=None)\n')
    (tmp_path / 'same.py').write_text('model = dict()\n')
    (tmp_path / 'own.py').write_text(text)
    message = f'config .*own.py, or one that it inherits: {message}'
    with pytest.raises(UserError, match=message) as error:
        load_config(str(tmp_path / 'own.py'))
    assert '\n' not in str(error.value)


def test_a_term_that_the_base_dropped_comes_back_as_the_message_says(tmp_path):
    (tmp_path / 'none.py').write_text('model = dict(term=None)\n')
    text = "_base_ = 'none.py'\nmodel = dict({})"
    (tmp_path / 'own.py').write_text(text.format('term=dict(weight=2)'))
    with pytest.raises(UserError) as error:
        load_config(str(tmp_path / 'own.py'))
    says = re.search(r'term=dict\(.*\.\.\.\)', str(error.value))[0]
    (tmp_path / 'own.py').write_text(text.format(says.replace('...', 'weight=2')))
    assert load_config(str(tmp_path / 'own.py')).model == dict(term=dict(weight=2))


def test_errors_within_modules_of_ones_own_keep_their_traceback(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = "model = dict(type='A')\ncustom_imports = dict(imports=['{}'])\n"
    for name, content in (('works', ''), ('lacks', 'import no_such_one'), ('fails', 'x = 1 / 0')):
        (tmp_path / f'own_module_that_{name}.py').write_text(content)
        (tmp_path / f'{name}.py').write_text(text.format(f'own_module_that_{name}'))
    load_config(str(tmp_path / 'works.py'))
    assert sys.modules.pop('own_module_that_works')
    with pytest.raises(UserError, match="custom_imports: No module named 'no_such_one'"):
        load_config(str(tmp_path / 'lacks.py'))
    with pytest.raises(ZeroDivisionError):
        load_config(str(tmp_path / 'fails.py'))


@pytest.mark.parametrize('text', ['x = 1', 'model = None'])
def test_a_config_without_a_model_is_named(tmp_path, text):
    (tmp_path / 'own.py').write_text(text)
    with pytest.raises(UserError, match='config .*own.py has no model'):
        load_config(str(tmp_path / 'own.py'))


def test_the_copy_of_an_evaluation_is_not_the_runs_config(tmp_path):
    (tmp_path / 'own.py').write_text('x = 1\n')
    (tmp_path / '20260101_000000.py').write_text('x = 2\n')
    (tmp_path / 'student.py').write_text('x = 3\n')
    assert load_work_dir_config(tmp_path).x == 1
