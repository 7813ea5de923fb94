from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.configs import (
    check_data_roots,
    is_distillation,
    load_config,
    model_config,
    student_config,
)
from mmkd.errors import UserError
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = sorted(
    p.relative_to(ROOT).as_posix() for p in ROOT.glob('configs/**/*.py') if '_base_' not in p.parts
)


@pytest.fixture(scope='session')
def random_checkpoints(tmp_path_factory):
    """For a teacher's config: a checkpoint with random weights, made once."""
    folder = tmp_path_factory.mktemp('random')

    def make(config: str) -> str:
        path = folder / f'{Path(config).stem}.pth'
        if not path.is_file():
            cfg = load_config(config)
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                torch.save(MODELS.build(model_config(cfg)).state_dict(), path)
        return str(path)

    return make


@pytest.mark.parametrize('path', CONFIGS)
def test_every_config_builds(path, random_checkpoints):
    config = load_config(path)
    if is_distillation(config):
        config.model.teacher.checkpoint = random_checkpoints(config.model.teacher.config)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        MODELS.build(config.model)
    for key in ('train_dataloader', 'val_dataloader', 'train_cfg', 'optim_wrapper'):
        assert key in config


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


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'ablations' in p])
def test_ablations_differ_in_their_terms_only(path):
    config, basic = (load_config(p) for p in (path, 'configs/segformer_fastscnn_freq.py'))
    assert student_config(config).to_dict() == student_config(basic).to_dict()
    for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'randomness'):
        assert config[key] == basic[key], key
    if 'teacher' in config.model:
        assert config.model.teacher == basic.model.teacher


def test_attention_decays_to_zero_over_the_whole_run():
    for name in ('segformer_fastscnn_at', 'segformer_fastscnn_at_camvid'):
        config = load_config(f'configs/{name}.py')
        beta, alpha = config.model.distill.attention, config.model.distill.logits
        expected = dict(type='cosine_decay', begin=0, end=config.train_cfg.max_iters)
        assert beta.schedule == expected and 'schedule' not in alpha


@pytest.mark.parametrize('recipe', ['freq', 'at'])
def test_data_sets_change_nothing_but_the_data_and_the_teacher(recipe):
    streets = load_config(f'configs/segformer_fastscnn_{recipe}.py').model.to_dict()
    camvid = load_config(f'configs/segformer_fastscnn_{recipe}_camvid.py').model.to_dict()
    assert streets.pop('teacher') != camvid.pop('teacher')
    if recipe == 'at':  # beta is 0 at the end of either schedule
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
        check_data_roots(config, 'loader', 'val_dataloader')
    parts.pop()
    check_data_roots(Config(dict(loader=dict(dataset=wrapped))), 'loader')


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
