"""Files that run code when they are unpickled, through every way in which a tool opens a file."""

import io
import os
import pickle
import runpy
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.fileio import dump, load
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def saved(content, **kwargs) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    return buffer.getvalue()


def zipped(members: dict[str, bytes], start: bytes = b'') -> bytes:
    buffer = io.BytesIO(start)
    with zipfile.ZipFile(buffer, 'a') as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def state(value) -> dict:
    return {'meta': value, 'state_dict': {'weight': torch.ones(1)}}


# Bytes of files by name, each of which makes the file ``witness`` if its code runs.
CORPUS = {
    'os.system': lambda witness: saved(state(Call(os.system, f'touch {witness}'))),
    'eval': lambda witness: saved(state(Call(eval, f'open({witness!r}, "w")'))),
    'exec': lambda witness: saved(state(Call(exec, f'open({witness!r}, "w")'))),
    'open': lambda witness: saved(state(Call(open, witness, 'w'))),
    'as a weight': lambda witness: saved({'state_dict': {'weight': Call(open, witness, 'w')}}),
    'as a key': lambda witness: saved({('a', Call(open, witness, 'w')): 1}),
    'before zip archives': lambda witness: saved(
        state(Call(open, witness, 'w')), _use_new_zipfile_serialization=False
    ),
    'pickle alone': lambda witness: pickle.dumps(Call(os.system, f'touch {witness}')),
    'storage of bytes': lambda witness: saved(
        state(Call(torch.storage._load_from_bytes, pickle.dumps(Call(open, witness, 'w'))))
    ),
    'state of a parameter': lambda witness: saved(
        state(
            Call(
                torch._utils._rebuild_parameter_with_state,
                *(torch.ones(1), True, {}, {'x': Call(open, witness, 'w')}),
            )
        )
    ),
    'array of objects': lambda witness: saved(state(np.array([Call(open, witness, 'w'), 0]))),
    'globals of an allowed type': lambda witness: saved(
        state(Call(getattr, Call(getattr, HistoryBuffer, '__init__'), '__globals__'))
    ),
    'zip in a zip': lambda witness: zipped(
        {'archive/data.pkl': saved(state(Call(open, witness, 'w')))}
    ),
    'paths out of the archive': lambda witness: zipped(
        {'../witness': b'', witness: b'', f'archive/../../{witness}': b''}, saved(state(0))
    ),
    'tar': lambda witness: tarred(
        {'storages': pickle.dumps(Call(open, witness, 'w')), '../witness': b'', witness: b''}
    ),
}


@pytest.fixture
def witness(tmp_path) -> Path:
    (tmp_path / 'folder').mkdir()
    return tmp_path / 'witness'


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs a tool with arguments, in this process: its exit status and the last line of errors."""

    def command(tool: str, *args) -> tuple[int, str]:
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        try:
            runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='__main__')
        except SystemExit as stop:
            return stop.code, capfd.readouterr().err.strip().splitlines()[-1]
        return 0, ''

    return command


@pytest.mark.parametrize('load', [load_checkpoint_file, CheckpointLoader.load_checkpoint])
@pytest.mark.parametrize('kind', CORPUS)
def test_hostile_files_loaded_by_mmkd_run_nothing(witness, kind, load):
    path = witness.parent / 'folder/hostile.pth'
    path.write_bytes(CORPUS[kind](str(witness)))
    try:
        content = load(str(path))
    except UserError as error:
        assert str(path) in str(error)
    else:  # a whole checkpoint beside what an archive's reader never unpacks
        assert kind == 'paths out of the archive' and content['meta'] == 0
    assert not witness.exists()


@pytest.mark.parametrize('kind', ['os.system', 'eval', 'exec', 'open', 'as a weight', 'as a key'])
def test_hostile_files_loaded_unsafely_run_code(witness, kind):
    path = witness.parent / 'folder/hostile.pth'
    path.write_bytes(CORPUS[kind](str(witness)))
    data = zipfile.ZipFile(path).read('archive/data.pkl')
    try:
        pickle.loads(data)
    except (pickle.UnpicklingError, TypeError):  # tensors need PyTorch; a file is no key
        pass
    assert witness.exists()


@pytest.fixture
def hostile(witness) -> Path:
    path = witness.parent / 'folder/hostile.pth'
    path.write_bytes(CORPUS['os.system'](str(witness)))
    return path


OPTIONS = {
    'teacher': ['train', '{recipe}', '--cfg-options', 'model.teacher.checkpoint={hostile}'],
    'load_from': ['train', '{recipe}', '--cfg-options', 'load_from={hostile}'],
    'pretrained': [
        'train', '{recipe}', '--cfg-options', 'model.student.init_cfg.type=Pretrained',
        'model.student.init_cfg.checkpoint={hostile}',
    ],
    'resume': ['train', '{recipe}', '--resume', '--work-dir', '{resumed}'],
    'test': ['test', '{recipe}', '{hostile}'],
    'export': ['deploy/export', '{recipe}', '{hostile}', '--size', '64', '64'],
    'show': ['analysis/show_attention', '{recipe}', 'x.png', '--checkpoint', '{hostile}'],
    'converter': ['converters/yolo11_to_mmkd', '{hostile}', 'out.pth'],
}  # fmt: skip


@pytest.mark.parametrize('way', OPTIONS)
def test_hostile_files_given_to_tools_run_nothing(
    way, recipe_file, hostile, witness, command, monkeypatch
):
    monkeypatch.chdir(witness.parent / 'folder')
    resumed = Path('resumed')
    resumed.mkdir()
    (resumed / 'iter_2.pth').write_bytes(hostile.read_bytes())
    (resumed / 'last_checkpoint').write_text(str(resumed / 'iter_2.pth'))
    tool, *args = (
        text.format(recipe=recipe_file, hostile=hostile, resumed=resumed) for text in OPTIONS[way]
    )
    status, line = command(tool, *args)
    assert status == 2
    assert line.startswith('error: checkpoint ') and 'is rejected: it holds posix.system' in line
    assert not witness.exists()


ANNOTATED = """
_base_ = '{config}'
dataset = dict(
    _delete_=True, type='BaseDetDataset', ann_file='{annotations}',
    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackDetInputs')],
    metainfo=dict(classes=('a', 'b', 'c', 'd')))
train_dataloader = dict(dataset=dataset)
"""


def test_tools_hostile_annotations_run_nothing(detection_files, witness, command, monkeypatch):
    monkeypatch.chdir(witness.parent)
    annotations = witness.parent / 'annotations.pkl'
    annotations.write_bytes(
        pickle.dumps({'metainfo': {}, 'data_list': Call(open, str(witness), 'w')})
    )
    config = witness.parent / 'annotated.py'
    text = ANNOTATED.format(config=detection_files['student'], annotations=annotations)
    config.write_text(text)
    status, line = command('train', config)
    assert status == 2 and 'a pickle is rejected: it holds io.open' in line
    assert not witness.exists()


def test_load_plain_pickled_annotations_are_restored(tmp_path):
    plain = dict(
        boxes=np.arange(8, dtype=np.float32).reshape(2, 4), names={'a'}, score=np.float64(0.5),
        raw=b'\x00\xff', order=(1, 'b', None),
    )  # fmt: skip
    for protocol in (2, 5):
        dump(plain, tmp_path / 'a.pkl', protocol=protocol)
        again = load(tmp_path / 'a.pkl')
        assert np.array_equal(again.pop('boxes'), plain['boxes'])
        assert again == {key: value for key, value in plain.items() if key != 'boxes'}


def test_trust_pickles_opens_files_as_before(
    recipe_file, teacher_files, witness, command, monkeypatch
):
    monkeypatch.chdir(witness.parent)
    monkeypatch.setenv(SAFE, '1')  # put back at the end of the test
    content = load_checkpoint_file(teacher_files[1])
    content['meta'] = Call(os.system, f'touch {witness}')
    Path('own.pth').write_bytes(saved(content))
    args = ['train', recipe_file, '--cfg-options', 'model.teacher.checkpoint=own.pth']
    status, line = command(*args)
    assert status == 2 and line.endswith('pass --trust-pickles only for files you created')
    assert not witness.exists()
    status, _ = command(*args, '--trust-pickles')
    assert status == 0 and witness.exists()
    Path('own.pkl').write_bytes(pickle.dumps(Call(os.getcwd)))
    assert load('own.pkl') == str(witness.parent)
