"""mmkd as a wheel, installed beside the libraries of this environment and used from elsewhere."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.errors import UserError
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ('mmkd', 'configs', 'tools', 'mmkd_cli.py', 'README.md', 'setup.cfg', 'pyproject.toml')


@pytest.mark.parametrize('name', ['segformer_fastscnn_freq.py', 'students/yolo11n_bccd.py'])
def test_load_config_mmkd_base_is_inherited(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('own.py').write_text(f"_base_ = 'mmkd::{name}'\nlog_level = 'ERROR'\n")
    expected = load_config(f'configs/{name}').to_dict() | dict(log_level='ERROR')
    assert Config.fromfile('own.py').to_dict() == expected
    assert load_config(f'mmkd::{name}').to_dict() == expected | dict(log_level='INFO')


def test_load_config_missing_base_raises_user_error(tmp_path):
    (tmp_path / 'own.py').write_text("_base_ = 'mmkd::no_such.py'")
    with pytest.raises(UserError, match='config mmkd::no_such.py: mmkd has no such config'):
        load_config(str(tmp_path / 'own.py'))


@pytest.mark.parametrize('args, status', [(['-h'], 0), ([], 2)])
def test_mmkd_without_tool_lists_tools(args, status, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmkd', *args])
    with pytest.raises(SystemExit, match=str(status)):
        runpy.run_module('mmkd', run_name='__main__')
    assert 'analysis/show_frs' in capsys.readouterr().out


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> Path:
    source, out = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    options = ['--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', str(out)]
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *options, str(source)], check=True)
    (path,) = out.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> str:
    """Python of a fresh environment: the wheel, and this environment's libraries behind it."""
    folder = tmp_path_factory.mktemp('venv')
    venv.create(folder, symlinks=True)
    python = str(folder / 'bin' / 'python')
    pip = [sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet', '--no-index']
    subprocess.run([*pip, '--no-deps', str(wheel)], check=True)
    where = [python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']
    packages = Path(subprocess.check_output(where, text=True).strip())
    libraries = [path for path in sys.path if path.endswith(('site-packages', 'dist-packages'))]
    (packages / 'libraries.pth').write_text('\n'.join(libraries) + '\n')
    return python


@pytest.fixture
def project(tmp_path) -> Path:
    """The folder that docs/own_data.md describes, with its configs."""
    page = (ROOT / 'docs/own_data.md').read_text()
    for name in ('fields.py', 'fields_teacher.py', 'fields_ade20k.py', 'fields_more.py'):
        config = page.split(f'```python\n# {name}\n')[1].split('```')[0]
        (tmp_path / name).write_text(config)
    generator = np.random.default_rng(0)
    for name in ('train/images', 'train/labels', 'val/images', 'val/labels', 'unlabelled'):
        folder = tmp_path / 'data/fields' / name
        folder.mkdir(parents=True)
        for i in range(4):
            if folder.name == 'labels':
                label = generator.choice(np.uint8([0, 1, 2, 255]), size=(90, 120))
                cv2.imwrite(str(folder / f'{i}.png'), label)
            else:
                image = generator.integers(256, size=(90, 120, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f'{i}.jpg'), image)
    return tmp_path


def run(program: str, folder: Path, *args: str) -> str:
    outside = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    result = subprocess.run(
        [program, *args], cwd=folder, env=outside, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_wheel_holds_configs_and_tools(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('configs', 'tools'):
        files = [p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob('*.py')]
        assert {f'mmkd/.mim/{name}' for name in files} <= names
    assert 'mmkd/.mim/tools/dist_train.sh' in names
    assert {'mmkd/cli/quick_student.onnx', 'mmkd/cli/quick_street.png'} <= names
    assert not [name for name in names if '__pycache__' in name or name.startswith('tests')]


@pytest.mark.slow
def test_wheel_every_config_finds_its_teachers_config(installed, tmp_path):
    code = """
from pathlib import Path
import mmkd
from mmkd.config.load import ROOT, load_config
assert Path(mmkd.__file__).parent / '.mim' == ROOT
for path in sorted(ROOT.glob('configs/*.py')):
    config = load_config(f'mmkd::{path.name}')
    teacher = config.model.teacher.config
    print('teacher', path.stem, load_config(teacher).filename if '::' not in teacher else '')
"""
    out = run(installed, tmp_path, '-c', code)
    found = dict(re.findall('^teacher (.*) (.*)$', out, re.MULTILINE))
    assert found.keys() == {path.stem for path in ROOT.glob('configs/*.py')}
    own = [Path(name) for name in found.values() if name]
    assert len(own) > 10 and all(path.is_relative_to(Path(installed).parents[1]) for path in own)


@pytest.mark.parametrize(
    'name, about_teacher',
    [
        ('fields_ade20k', 'the teacher is not scored on this data'),
        ('fields_more', 'INFO - teacher: aAcc'),
    ],
)
def test_wheel_trains_another_project(installed, project, monkeypatch, name, about_teacher):
    monkeypatch.chdir(project)
    teacher = load_config(load_config(f'{name}.py').model.teacher.config)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.save(MODELS.build(model_config(teacher)).state_dict(), 'random.pth')
    options = ['model.teacher.checkpoint=random.pth', 'train_cfg.max_iters=2']
    options += ['train_cfg.val_interval=2', 'train_dataloader.batch_size=2']
    log = run(installed, project, '-m', 'mmkd', 'train', f'{name}.py', '--cfg-options', *options)
    assert about_teacher in log and 'mIoU' in log
    best = f'work_dirs/{name}/best.pth'
    assert Path(best).is_file()
    student = Config.fromfile(f'work_dirs/{name}/student.py')
    assert student.model.decode_head.num_classes == 3
    log = run(str(Path(installed).with_name('mmkd')), project, 'test', f'{name}.py', best)
    assert 'weed' in log


def test_wheel_demo_quick_writes_a_picture(installed, tmp_path):
    written = run(str(Path(installed).with_name('mmkd')), tmp_path, 'demo', '--quick').strip()
    assert cv2.imread(str(tmp_path / written)).shape == (384, 512, 3)


def test_wheel_help_needs_no_library(wheel, tmp_path):
    venv.create(tmp_path, symlinks=True)
    python = str(tmp_path / 'bin/python')
    pip = [sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet', '--no-index']
    subprocess.run([*pip, '--no-deps', str(wheel)], check=True)
    assert '  train ' in run(str(tmp_path / 'bin/mmkd'), tmp_path, '--help')
    done = subprocess.run(
        [tmp_path / 'bin/mmkd', 'demo', '--quick'], capture_output=True, text=True
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.endswith('; run: pip install onnxruntime opencv-python-headless')


@pytest.mark.slow
def test_wheel_installs_with_libraries_without_a_compiler(wheel, tmp_path):
    venv.create(tmp_path, symlinks=True)
    pip = [sys.executable, '-m', 'pip', '--python', str(tmp_path / 'bin/python'), 'install']
    no_compiler = os.environ | dict(CC='/bin/false', CXX='/bin/false')
    subprocess.run([*pip, '--quiet', f'{wheel}[openmmlab]'], check=True, env=no_compiler)
    console = str(tmp_path / 'bin/mmkd')
    assert '  train ' in run(console, tmp_path, '--help')
    config = run(console, tmp_path, 'config', 'mmkd::segformer_fastscnn_freq.py')
    assert "type='mmkd.Distiller'" in config
