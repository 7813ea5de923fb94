import ast
import copy
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmkd.config.checks.data import check_dataloaders
from mmkd.config.load import load_config, load_work_dir_config
from mmkd.config.student import is_distillation, model_config, student_config
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.schedules import build_schedule
from mmkd.errors import UserError
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    p.relative_to(ROOT).as_posix() for p in ROOT.glob('configs/**/*.py') if '_base_' not in p.parts
)


def model_bases(path: Path) -> set[Path]:
    """Return the files of models and distillers that a config inherits, at any depth."""
    bases = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
            names = ast.literal_eval(node.value)
            names = [names] if isinstance(names, str) else names
            bases |= {(path.parent / name).resolve() for name in names if '::' not in name}
    kinds = {base for base in bases if base.parent.name in ('models', 'distillers')}
    return kinds.union(*map(model_bases, bases))


# One config for each combination of model and distiller.
KINDS = {frozenset(model_bases(ROOT / path)): path for path in reversed(CONFIGS)}


def check_builds(path: str, random_checkpoints: Callable[[str], str]) -> None:
    config = load_config(path)
    pytest.importorskip(config.default_scope)
    if is_distillation(config):
        config.model.teacher.checkpoint = random_checkpoints(config.model.teacher.config)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    assert isinstance(model, Distiller) == is_distillation(config)
    assert any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('path', sorted(KINDS.values()))
def test_configs_one_of_each_kind_builds(path, random_checkpoints):
    check_builds(path, random_checkpoints)


@pytest.mark.slow
@pytest.mark.parametrize('path', sorted({*CONFIGS} - {*KINDS.values()}))
def test_configs_all_others_build(path, random_checkpoints):
    check_builds(path, random_checkpoints)


def test_configs_folder_holds_over_a_hundred():
    assert len(CONFIGS) > 100


@pytest.mark.parametrize('path', CONFIGS)
def test_load_config_every_schedule_ends_within_its_run(path):
    config = load_config(path)
    for key in ('train_dataloader', 'val_dataloader', 'train_cfg', 'optim_wrapper'):
        assert key in config
    for term in (config.model.get('distill') or {}).values():
        schedule = term and term.get('schedule')
        assert not schedule or schedule.end <= config.train_cfg.max_iters


def band_responses(loss: dict) -> tuple[float, float]:
    """Return how much a slow and a fast wave in the teacher's feature change a loss."""
    loss = MODELS.build(dict(loss, _scope_='mmkd'))
    y, x = torch.meshgrid(torch.arange(32), torch.arange(64), indexing='ij')
    base = torch.rand(1, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    waves = torch.cos(2 * math.pi * x / 64), (-1.0) ** (x + y)
    return tuple(loss(base, base + wave).item() for wave in waves)


@pytest.mark.parametrize(
    'name, low_terms, high_terms',
    [
        ('fastscnn_basic', ['encoder'], ['decoder']),
        ('fastscnn_reversed', ['decoder'], ['encoder']),
        ('vmamba_basic', ['stage3', 'stage4'], ['stage1', 'stage2']),
        ('vmamba_reversed', ['stage1', 'stage2'], ['stage3', 'stage4']),
        ('vmamba_split_13', ['stage2', 'stage3', 'stage4'], ['stage1']),
        ('vmamba_split_31', ['stage4'], ['stage1', 'stage2', 'stage3']),
    ],
)
def test_frequency_ablation_of_one_band_ignores_the_other(name, low_terms, high_terms):
    terms = load_config(f'configs/ablations/{name}.py').model.distill
    assert sorted(terms) == sorted(low_terms + high_terms)
    for term in terms:
        slow, fast = band_responses(terms[term].loss)
        ignored, compared = (fast, slow) if term in low_terms else (slow, fast)
        assert compared > 10 * ignored, term


@pytest.mark.parametrize('student', ['fastscnn', 'vmamba', 'camvid', 'yolo11'])
def test_ablations_of_a_student_have_different_terms(student):
    paths = [p for p in CONFIGS if p.startswith(f'configs/ablations/{student}_')]
    texts = {path: str(load_config(path).model.get('distill')) for path in paths}
    repeated = [p for p in paths if list(texts.values()).count(texts[p]) > 1]
    assert len(paths) > 1 and repeated == []


FLAGSHIPS = dict(
    fastscnn='segformer_fastscnn_freq',
    camvid='segformer_fastscnn_freq_camvid_pretrained',
    yolo11='yolo11l_yolo11s_at',
    vmamba='segformer_vmamba_freq',
    new_street='efficientnet_fastscnn_pkd_camvid_new_street',
    retinanet='yolo11s_retinanet_r18half_pkd_bccd',
    efficientnet_vmamba='efficientnet_vmamba_pkd',
)


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'ablations' in p])
def test_ablation_configs_differ_from_flagship_in_terms_only(path):
    flagship = next(f for name, f in FLAGSHIPS.items() if Path(path).name.startswith(f'{name}_'))
    config, basic = (load_config(p) for p in (path, f'configs/{flagship}.py'))
    assert student_config(config).to_dict() == student_config(basic).to_dict()
    keys = ('train_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'randomness')
    for key in (*keys, 'load_from'):
        assert config[key] == basic[key], key
    if 'teacher' in config.model:
        assert config.model.teacher == basic.model.teacher


@pytest.mark.parametrize('name', ['segformer_fastscnn_at', 'segformer_fastscnn_at_camvid'])
def test_attention_weight_at_the_ends_of_the_run_is_whole_and_zero(name):
    config = load_config(f'configs/{name}.py')
    factor = build_schedule(config.model.distill.attention.schedule)
    assert factor(0) == 1
    assert factor(config.train_cfg.max_iters) == pytest.approx(0)
    assert factor(config.train_cfg.max_iters - 1) > 0


@pytest.mark.parametrize(
    'recipe',
    [
        'fastscnn_freq', 'fastscnn_at', 'fastscnn_freq_spectral', 'vmamba_freq',
        'vmamba_freq_spectral',
    ],
)  # fmt: skip
def test_camvid_configs_differ_from_streets_in_data_and_teacher_only(recipe):
    streets = load_config(f'configs/segformer_{recipe}.py').model.to_dict()
    camvid = load_config(f'configs/segformer_{recipe}_camvid.py').model.to_dict()
    assert streets.pop('teacher') != camvid.pop('teacher')
    if recipe == 'fastscnn_at':  # beta is 0 at the end of either schedule
        for model in (streets, camvid):
            del model['distill']['attention']['schedule']['end']
    assert streets == camvid


def test_student_config_of_distillation_is_the_student():
    config = load_config('configs/segformer_fastscnn_freq.py')
    alone = student_config(config)
    assert alone.model == load_config('configs/students/fast_scnn_streets.py').model
    assert 'custom_imports' not in alone and 'train_dataloader' not in alone
    assert alone.test_dataloader == config.test_dataloader


def test_student_config_keeps_needed_custom_imports():
    config = Config(dict(model=dict(type='EncoderDecoder', backbone=dict(type='mmkd.Own'))))
    assert student_config(config).custom_imports.imports == ['mmkd']


def test_model_config_preprocessor_moves_into_model():
    config = Config(dict(model=dict(type='A'), data_preprocessor=dict(type='P')))
    assert model_config(config) == dict(type='A', data_preprocessor=dict(type='P'))


@pytest.mark.parametrize(
    'name', ['no/such.py', 'mmseg::no/such.py', 'mmpretrain::a/b.py', 'nolibrary::a.py', '::a.py']
)
def test_load_config_missing_file_raises_user_error(name, monkeypatch):
    monkeypatch.setattr('subprocess.Popen.__init__', None)  # nothing is installed on the way
    with pytest.raises(UserError, match=f'config {name}'):
        load_config(name)


def test_load_config_folder_is_not_said_to_be_missing(tmp_path):
    message = f'^config {tmp_path} is a folder: expected a file; correct the path$'
    with pytest.raises(UserError, match=message):
        load_config(str(tmp_path))


def test_load_config_relative_path_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config('configs/students/fast_scnn_streets.py').model.type == 'EncoderDecoder'


def test_check_dataloaders_data_root_inside_wrapper_is_checked(tmp_path):
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
def test_frs_configs_equal_mmdets_students_with_paper_weights(name, own, feature, head):
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


@pytest.mark.parametrize('data, classes', [('', 4), ('_voc', 20), ('_bccd', 3), ('_coco', 80)])
def test_yolo11_configs_differ_in_data_and_teacher_only(data, classes):
    config = load_config(f'configs/yolo11l_yolo11s_at{data}.py')
    model = config.model.to_dict()
    teacher = load_config(model.pop('teacher')['config']).model
    assert model['student']['bbox_head'].pop('num_classes') == classes
    assert teacher.bbox_head.num_classes == classes and teacher.backbone.scale == 'l'
    voc = load_config('configs/yolo11l_yolo11s_at_voc.py').model.to_dict()
    voc.pop('teacher')
    voc['student']['bbox_head'].pop('num_classes')
    assert model == voc


@pytest.mark.parametrize('path', [p for p in CONFIGS if 'yolo' in p and 'retinanet' not in p])
def test_yolo_configs_end_mosaic_within_training(path):
    config = load_config(path)
    processes = 4 if config.train_dataloader.batch_size == 16 else 1
    draws = config.train_cfg.max_iters * config.train_dataloader.batch_size * processes
    mixed = config.train_dataloader.dataset.mix_until_sample
    assert 0.8 < mixed / draws < 0.91


def test_yolo11_optim_wrapper_steps_as_reference():
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


def test_yolo11_average_decays_as_reference():
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


def test_load_config_syntax_error_raises_user_error(tmp_path):
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
        (
            "_base_ = 'none.py'\nmodel = dict(heads=dict(num_classes=3))",
            r'heads is a dict, but a list in the base; write all of its parts, such as heads=\[',
        ),
        ("custom_imports = dict(imports=['mmkd', 'my_lossess'])", 'custom_imports: .*my_lossess'),
        (
            'custom_imports = dict(imports=5)',
            r'custom_imports.imports=5: expected names of modules',
        ),
        (
            "custom_imports = dict(imports=['mmkd', 5])",
            r"custom_imports.imports=\['mmkd', 5\]: expected names",
        ),
        ("custom_imports = ['mmkd']", r"custom_imports=\['mmkd'\]: expected dict\(imports"),
    ],
)
def test_load_config_mistake_error_is_one_line_with_the_config(tmp_path, text, message):
    (tmp_path / 'none.py').write_text('a = None\nmodel = dict(term=None, heads=[dict()])\n')
    (tmp_path / 'same.py').write_text('model = dict()\n')
    (tmp_path / 'own.py').write_text(text)
    message = f'config .*own.py, or one that it inherits: {message}'
    with pytest.raises(UserError, match=message) as error:
        load_config(str(tmp_path / 'own.py'))
    assert '\n' not in str(error.value)


def test_load_config_dropped_term_is_restored_as_error_says(tmp_path):
    (tmp_path / 'none.py').write_text('model = dict(term=None)\n')
    text = "_base_ = 'none.py'\nmodel = dict({})"
    (tmp_path / 'own.py').write_text(text.format('term=dict(weight=2)'))
    with pytest.raises(UserError) as error:
        load_config(str(tmp_path / 'own.py'))
    says = re.search(r'term=dict\(.*\.\.\.\)', str(error.value))[0]
    (tmp_path / 'own.py').write_text(text.format(says.replace('...', 'weight=2')))
    assert load_config(str(tmp_path / 'own.py')).model == dict(term=dict(weight=2))


def test_load_config_error_in_custom_import_keeps_traceback(tmp_path, monkeypatch):
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
def test_load_config_without_model_raises_user_error(tmp_path, text):
    (tmp_path / 'own.py').write_text(text)
    with pytest.raises(UserError, match='config .*own.py: expected a model'):
        load_config(str(tmp_path / 'own.py'))


def test_load_work_dir_config_ignores_copies_of_evaluations(tmp_path):
    (tmp_path / 'own.py').write_text('model = dict()\nx = 1\n')
    (tmp_path / '20260101_000000.py').write_text('x = 2\n')
    (tmp_path / 'student.py').write_text('x = 3\n')
    assert load_work_dir_config(tmp_path).x == 1


def test_load_work_dir_config_of_another_file_is_an_error(tmp_path):
    (tmp_path / 'script.py').write_text('x = 1\n')
    with pytest.raises(UserError, match='script.py: model=None: expected a dict; is .* the work'):
        load_work_dir_config(tmp_path)
