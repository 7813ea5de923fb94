import pytest

from mmkd.cli.ablate import parse_args


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
