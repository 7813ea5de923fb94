from pathlib import Path

import pytest

from mmkd.cli.ablate import main, parse_args
from mmkd.errors import UserError


@pytest.mark.parametrize(
    'options, message',
    [
        (['a.py', '--equal-time', '1'], "--equal-time: '1': expected a number above 1"),
        (['a.py', '--equal-time', 'long'], "--equal-time: 'long': expected a number above 1"),
        (
            ['--report-only', '--equal-time', '1.5'],
            '--report-only: expected it without',
        ),
        (
            ['a.py', '--report-only'],
            '--report-only: expected it without configs; it reports every run of --work-dir',
        ),
        ([], 'expected configs to train, or --report-only'),
        (['a.py', '--teacher-views', '0'], '--teacher-views'),
        (
            ['--report-only', '--teacher-views', '6'],
            '--teacher-views: expected it without --report-only and --launcher slurm',
        ),
        (
            ['a.py', '--launcher', 'slurm', '--teacher-views', '6'],
            '--teacher-views: expected it without --report-only and --launcher slurm',
        ),
        (['a.py', '--threshold', 'three'], "--threshold: 'three': expected a finite number"),
        (['a.py', '--threshold', 'nan'], "--threshold: 'nan': expected a finite number"),
    ],
)
def test_parse_args_rejects_bad_options(monkeypatch, capsys, options, message):
    monkeypatch.setattr('sys.argv', ['ablate', *options])
    with pytest.raises(SystemExit):
        parse_args()
    assert message in capsys.readouterr().err


def test_parse_args_given_twice_adds_up_as_in_train(monkeypatch):
    words = '--seeds 0 1 --seeds 4 --cfg-options a=1 b=2 --cfg-options c=3'.split()
    monkeypatch.setattr('sys.argv', ['ablate', 'a.py', *words])
    args = parse_args()
    assert (args.seeds, args.cfg_options) == ([0, 1, 4], ['a=1', 'b=2', 'c=3'])
    monkeypatch.setattr('sys.argv', ['ablate', 'a.py'])
    assert (parse_args().seeds, parse_args().cfg_options) == ([0], [])


@pytest.mark.parametrize(
    'words, message',
    [
        ([], 'other/seed_0/run.json cannot be read'),
        (
            ['--cfg-options', 'train_cfg.max_iters=40', 'train_cfg.val_begin=50'],
            'fast_scnn_streets.py: train_cfg.val_begin=50: expected at most 40',
        ),
        (
            ['--cfg-options', 'train_dataloader.batch_size=0'],
            'fast_scnn_streets.py: train_dataloader.batch_size=0: expected an integer >= 1',
        ),
    ],
)
def test_ablate_stops_before_a_training_at_what_can_be_known(tmp_path, monkeypatch, words, message):
    if not words:
        (tmp_path / 'other' / 'seed_0').mkdir(parents=True)
        (tmp_path / 'other' / 'seed_0' / 'run.json').write_text('{')
    config = 'configs/students/fast_scnn_streets.py'
    monkeypatch.setattr('sys.argv', ['ablate', config, '--work-dir', str(tmp_path), *words])
    with pytest.raises(UserError, match=message):
        main()
    assert not Path(tmp_path, 'fast_scnn_streets').exists()


def test_ablate_by_class_beside_an_earlier_run_of_boxes_stops_before_a_training(
    tmp_path, monkeypatch, finished_run
):
    run = finished_run('boxes', 0, 1.0)
    note = run.folder / 'run.json'
    note.write_text(note.read_text().replace('"mIoU"', '"coco/bbox_mAP"'))
    words = ['configs/students/fast_scnn_streets.py', '--per-class', '--work-dir', str(tmp_path)]
    monkeypatch.setattr('sys.argv', ['ablate', *words])
    with pytest.raises(UserError, match='--per-class: configs/boxes.py has coco/bbox_mAP'):
        main()
    assert not Path(tmp_path, 'fast_scnn_streets').exists()
