"""``mmkd demo --quick``: the student in the package and the picture that it gives."""

import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from mmkd.datasets import render_street

ROOT = Path(__file__).resolve().parents[2]
STUDENT = ROOT / 'mmkd/cli/quick_student.onnx'
STREET = ROOT / 'mmkd/cli/quick_street.png'


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Run ``mmkd demo --quick`` where PyTorch and mmkd cannot be imported."""
    code = f"""import sys
sys.modules |= dict(torch=None, mmengine=None)
import mmkd_cli
mmkd_cli.main(['demo', '--quick', *{words!r}])"""
    return subprocess.run(
        [sys.executable, '-c', code],
        cwd=folder,
        env=dict(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )


def test_quick_student_is_small_and_knows_streets():
    assert STUDENT.stat().st_size < 3e6
    infer = runpy.run_path(str(ROOT / 'tools/deploy/infer.py'))
    network, right, known = infer['Model'](str(STUDENT)), 0, 0
    for i in range(8):
        street = render_street(i, 'val', size=(192, 256))
        labels = infer['labels_of'](network([street.image])[0], street.label.shape)
        right += np.sum((labels == street.label) & (street.label != 255))
        known += np.sum(street.label != 255)
    assert right / known > 0.75  # 0.85 on all 100


def test_quick_street_is_drawn_by_street_scenes():
    street = render_street(6, 'val', size=(384, 512))
    assert np.array_equal(cv2.imread(str(STREET)), street.image)


def test_demo_quick_without_pytorch_draws_the_street(tmp_path):
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (0, 'work_dirs/demo/quick_street.png\n'), done.stderr
    picture = cv2.imread(str(tmp_path / done.stdout.strip()))
    street = cv2.imread(str(STREET))
    assert picture.shape == street.shape
    colours = (picture - 0.4 * street) / 0.6  # of the classes, without the street below them
    assert len(np.unique((colours[::8, ::8] / 16).round().reshape(-1, 3), axis=0)) > 3


def test_demo_quick_image_keeps_its_size(tmp_path):
    cv2.imwrite(str(tmp_path / 'mine.jpg'), cv2.imread(str(STREET))[:100, :300])
    done = run(tmp_path, 'mine.jpg', '--out', 'seen')
    assert (done.returncode, done.stdout) == (0, 'seen/mine.png\n'), done.stderr
    assert cv2.imread(str(tmp_path / 'seen/mine.png')).shape == (100, 300, 3)


def test_demo_quick_missing_image_error_is_one_line(tmp_path):
    done = run(tmp_path, 'none.jpg')
    assert (done.returncode, done.stderr) == (
        2,
        'error: none.jpg: expected an image, a video or a folder of images\n',
    )
