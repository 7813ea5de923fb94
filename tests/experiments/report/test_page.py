"""The report of three real runs of a few iterations, as a file and in a browser."""

import json
import os
import re
import runpy
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmkd.checkpoints.atomic_files import find_last_checkpoint
from mmkd.datasets.camvid_classes import CLASSES
from mmkd.experiments.class_scores import class_scores
from mmkd.experiments.plan import runs_in
from mmkd.experiments.summary import summarise

ROOT = Path(__file__).resolve().parents[3]
ALONE = f"""
_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""
TWO_SETS = """
parts = [dict(_base_.val_dataloader.dataset, length=2, split=split) for split in ('val', 'train')]
val_dataloader = dict(
    num_workers=0, dataset=dict(_delete_=True, type='mmdet.ConcatDataset', datasets=parts))
val_evaluator = dict(
    _delete_=True, type='mmdet.MultiDatasetsEvaluator', metrics=[_base_.val_evaluator] * 2,
    dataset_prefixes=['val', 'unseen'])
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(interval=2, save_best='val/mIoU'))
"""


def report(*args) -> int:
    before, sys.argv = sys.argv, ['report', *map(str, args)]
    try:
        runpy.run_path(str(ROOT / 'tools/report.py'), run_name='__main__')
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = before
    return 0


@pytest.fixture(scope='module')
def folder(tmp_path_factory, write_recipe, teacher_files) -> Path:
    """Work dirs of a teacher, a student alone, and the distilled one; their report."""
    init_default_scope('mmseg')
    folder = tmp_path_factory.mktemp('report')
    (folder / 'alone.py').write_text(ALONE)
    configs = dict(
        teacher=Config.fromfile(teacher_files[0]),
        alone=Config.fromfile(folder / 'alone.py'),
        distilled=Config.fromfile(write_recipe(folder)),
    )
    configs['teacher'].test_dataloader = configs['teacher'].val_dataloader
    configs['distilled'].model.teacher.checkpoint = str(folder / 'teacher/best.pth')
    for name, config in configs.items():
        config.work_dir = str(folder / name)
        Runner.from_cfg(config).train()
    work_dirs = [folder / name for name in configs]
    assert report(*work_dirs, '--out', folder / 'report.html', '--images', 2) == 0
    return folder


def last_score(folder: Path, name: str) -> float:
    (log,) = (folder / name).glob('*/vis_data/scalars.json')
    lines = map(json.loads, log.read_text().splitlines())
    return [line['mIoU'] for line in lines if 'mIoU' in line][-1]


def test_report_file_is_self_contained(folder):
    text = (folder / 'report.html').read_text()
    sources = []

    class Sources(HTMLParser):
        def handle_starttag(self, tag, attrs):
            sources.extend(v for k, v in attrs if k in ('src', 'href', 'srcset', 'data'))

    Sources().feed(text)
    assert sources and all(s.startswith(('data:', '#')) for s in sources)
    assert not re.search(r'https?:|@import', re.sub(r'data:[^"]*', '', text))


def test_report_scores_and_differences_equal_logs(folder, page):
    page.open((folder / 'report.html').as_uri())
    cells = page.run(
        'Object.fromEntries([...document.querySelectorAll(".results tbody tr")]'
        '.map(r => [r.cells[0].dataset.value, [...r.cells].map(c => c.textContent)]))'
    )
    scores = {name: last_score(folder, name) for name in ('teacher', 'alone', 'distilled')}
    # Per cent have two decimals, unless no network of so short a training has reached one.
    places = 2 if max(scores.values()) > 1 else 3
    assert {name: row[1] for name, row in cells.items()} == {
        name: f'{score:.{places}f}' for name, score in scores.items()
    }
    gap = scores['distilled'] - scores['alone']
    assert [cells[name][2] for name in scores] == ['–', '–', f'{gap:+.{places}f}']
    assert [cells[n][0].removeprefix(n) for n in scores] == [
        'teacher',
        'baseline',
        'distilled',
    ]
    classes = json.loads((folder / 'distilled/class_iou.json').read_text())['iou']
    alone = json.loads((folder / 'alone/class_iou.json').read_text())['iou']
    road = page.run(
        '[...document.querySelectorAll(".classes tbody tr")]'
        '.find(r => r.cells[0].textContent === "Road").cells[3].textContent'
    )
    assert float(road) == pytest.approx(classes['Road'] - alone['Road'], abs=0.051)
    told = page.run('document.querySelector(".words").textContent')
    assert 'Compared with alone:Teacher: teacher (other run: none).' in told


def test_report_opened_has_no_error_or_request(folder, page):
    page.open((folder / 'report.html').as_uri())
    assert page.errors() == []
    own = (folder / 'report.html').as_uri()
    assert [url for url in page.requests() if not url.startswith(('data:', own))] == []


def test_report_click_sorts_the_table(folder, page):
    page.open((folder / 'report.html').as_uri())
    values = (
        '[...document.querySelectorAll(".results tbody tr")].map(r => r.cells[1].dataset.value)'
    )
    click = 'document.querySelectorAll(".results .sort")[{}].click()'
    state = 'document.querySelectorAll(".results th")[1].getAttribute("aria-sort")'
    page.run(click.format(1))
    first = [float(v) for v in page.run(values)]
    assert first == sorted(first, reverse=True) and page.run(state) == 'descending'
    page.run(click.format(1))
    assert [float(v) for v in page.run(values)] == first[::-1] and page.run(state) == 'ascending'
    page.run(click.format(2))  # by the difference, which only the distilled student has
    names = '[...document.querySelectorAll(".results tbody tr")].map(r => r.cells[0].dataset.value)'
    assert page.run(names)[0] == 'distilled' and page.run(state) is None
    page.run(click.format(0))
    assert page.run(names) == ['alone', 'distilled', 'teacher']


def test_report_slider_moves_border_between_pictures(folder, page):
    page.open((folder / 'report.html').as_uri())
    over = 'document.querySelector(".compare .over")'
    clip = f'getComputedStyle({over}).clipPath'
    border = 'document.querySelector(".compare .bar").getBoundingClientRect().x'
    assert '50%' in page.run(clip)
    box = page.box('.compare')
    y, start = box['y'] + box['height'] / 2, page.run(border)
    middle = box['x'] + box['width'] / 2
    page.drag((middle, y), (middle + box['width'] / 4, y))
    moved = page.run(border)
    assert moved - start == pytest.approx(box['width'] / 4, abs=0.05 * box['width'])
    # What is left of the border is the left picture alone.
    assert page.run(clip) != 'none' and '50%' not in page.run(clip)
    page.press('ARROW_LEFT')
    assert page.run(border) < moved


def test_report_viewer_shows_chosen_pictures(folder, page):
    page.open((folder / 'report.html').as_uri())
    shown = (
        '[...document.querySelectorAll(".compare .over, .compare .under")].map(i => i.alt).sort()'
    )
    assert page.run(shown) == ['alone (baseline), scene 1', 'distilled (distilled), scene 1']
    page.run(
        'const s = document.querySelector(".choose select"); s.value = "run teacher";'
        's.dispatchEvent(new Event("change"));'
        'document.querySelectorAll(".scenes button")[1].click()'
    )
    assert page.run(shown) == ['distilled (distilled), scene 2', 'teacher (teacher), scene 2']
    visible = '[...document.querySelectorAll(".all figure")].filter(f => !f.hidden).length'
    assert page.run(visible) == 5
    sizes = (
        '[...document.querySelectorAll(".compare img")].map(i => [i.naturalWidth, i.naturalHeight])'
    )
    assert page.run(sizes) == [[256, 192], [256, 192]]


def test_report_legend_hides_run_and_pointer_shows_value(folder, page):
    page.open((folder / 'report.html').as_uri())
    curves = (
        '[...document.querySelectorAll(".chart")][0].querySelectorAll(".curve:not(.off)").length'
    )
    assert page.run(curves) == 3
    page.run('document.querySelectorAll(".legend button")[0].click()')
    assert page.run(curves) == 2
    box = page.box('.chart svg')
    page.point(box['x'] + box['width'] - 12, box['y'] + box['height'] / 2)
    said = page.run('document.querySelector(".chart .readout").textContent')
    assert re.fullmatch(r'step 4: distilled [\d.]+', said)
    assert float(said.split()[-1]) == pytest.approx(last_score(folder, 'distilled'), rel=1e-3)


def test_report_on_a_phone_does_not_overflow(folder, page):
    page.open((folder / 'report.html').as_uri(), 375, 812, phone=True)
    assert page.run('document.documentElement.scrollWidth') == 375
    outside = page.run(
        '[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, svg") && '
        'e.getBoundingClientRect().width && (e.getBoundingClientRect().right > 375.5 || '
        'e.getBoundingClientRect().left < -0.5)).map(e => e.outerHTML.slice(0, 80))'
    )
    assert outside == []
    # What scrolls by itself keeps the names of its rows in sight.
    page.run('document.querySelector(".scroll").scrollLeft = 500')
    name = 'document.querySelector(".classes tbody td").getBoundingClientRect()'
    assert page.run(f'{name}.left') >= 0 and page.run(f'{name}.right') < 375


def test_class_scores_are_of_the_last_checkpoint(folder):
    runs, kept = summarise(runs_in(folder / 'alone')), folder / 'alone/class_iou.json'
    known = json.loads(kept.read_text())
    kept.write_text(json.dumps(known | dict(iou=dict(known['iou'], Road=1.0))))
    assert class_scores(runs)['alone']['Road'] == {0: 1.0}  # not evaluated again
    os.utime(find_last_checkpoint(folder / 'alone'))
    assert class_scores(runs)['alone']['Road'] == {0: known['iou']['Road']}


@pytest.mark.parametrize(
    'content', ['{"a', 'null', '[1]', '{"checkpoint": 1, "iou": {"Road": "x"}}']
)
def test_class_scores_kept_values_that_cannot_be_read_are_computed_again(folder, content):
    runs, kept = summarise(runs_in(folder / 'alone')), folder / 'alone/class_iou.json'
    before = kept.read_text()
    kept.write_text(content)
    assert list(class_scores(runs)['alone']) == list(json.loads(before)['iou'])
    assert kept.read_text() == before  # as text, because NaN differs from itself


def test_report_two_validation_sets_have_a_table_of_classes_each(tmp_path):
    (tmp_path / 'two.py').write_text(ALONE + TWO_SETS)
    config = Config.fromfile(tmp_path / 'two.py')
    config.work_dir = str(tmp_path / 'two')
    Runner.from_cfg(config).train()
    assert report(config.work_dir, '--out', tmp_path / 'report.html', '--images', '0') == 0
    page = (tmp_path / 'report.html').read_text()
    rows = re.findall(r'<td data-value="((?:val|unseen)/[^"]+)">', page)
    assert rows == [f'{part}/{name}' for part in ('val', 'unseen') for name in CLASSES]


def test_report_runs_of_other_classes_are_rejected(folder, tmp_path, capfd):
    shutil.copytree(folder / 'alone', tmp_path / 'other')
    (config,) = (tmp_path / 'other').glob('[!s]*.py')
    classes = dict(classes=('Road', 'Car'))
    config.write_text(f"{config.read_text()}val_dataloader['dataset']['metainfo'] = {classes}\n")
    assert report(folder / 'alone', tmp_path / 'other', '--out', tmp_path / 'report.html') == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('error: alone and other ') and line.endswith(
        'runs with the same classes'
    )
    assert not (tmp_path / 'report.html').exists()


@pytest.mark.parametrize(
    'args, message', [(['nowhere'], 'nowhere: expected the work dir of a training or an ablation')]
)
def test_report_bad_folder_error_is_one_line(tmp_path, monkeypatch, capfd, args, message):
    monkeypatch.chdir(tmp_path)
    assert report(*args) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('error: ') and line.endswith(message)
    assert not Path('work_dirs').exists()
