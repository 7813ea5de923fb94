"""The console command, in this process and as a person starts it."""

import subprocess
import sys

import pytest

import mmkd
import mmkd_cli


def status_of(words: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        mmkd_cli.main(words)
    return stop.value.code


def test_mmkd_help_has_one_line_per_command(capsys):
    assert status_of(['--help']) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, line in mmkd_cli.COMMANDS.items():
        assert f'  {name:<8}{line}' in lines and len(line) < 80


def test_mmkd_module_runs_as_the_command_does():
    command = [sys.executable, '-m', 'mmkd_cli', '--help']
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and 'usage: mmkd COMMAND' in result.stdout


def test_mmkd_without_command_shows_help_and_fails(capsys):
    assert status_of([]) == 2
    assert 'usage: mmkd COMMAND' in capsys.readouterr().out


@pytest.mark.parametrize(
    'word, hint', [('trian', 'did you mean train?'), ('xyz', "'mmkd --help' lists the commands")]
)
def test_mmkd_unknown_command_error_is_one_line(word, hint, capsys):
    assert status_of([word]) == 2
    assert capsys.readouterr().err == f'error: mmkd {word}: expected a command; {hint}\n'


def test_mmkd_version_is_the_package_version(capsys):
    mmkd_cli.main(['--version'])
    assert capsys.readouterr().out.strip() == mmkd.__version__


@pytest.mark.parametrize('name', mmkd_cli.COMMANDS)
def test_mmkd_every_command_describes_its_options(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['pytest'])
    assert status_of([name, '--help']) == 0
    assert capsys.readouterr().out.startswith('usage: ')


def test_mmkd_config_prints_inherited_and_overridden(capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['pytest'])
    options = ['--cfg-options', 'train_cfg.max_iters=7']
    mmkd_cli.main(['config', 'configs/segformer_fastscnn_freq.py', *options])
    printed = capsys.readouterr().out
    assert "type='mmkd.Distiller'" in printed and 'max_iters=7' in printed
    assert '_base_' not in printed


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)


def test_import_mmkd_prints_nothing():
    done = run('import mmkd')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_mmkd_missing_library_error_is_one_line():
    done = run(
        "import sys; sys.modules['torchvision'] = None\n"
        "import mmkd_cli; mmkd_cli.main(['train', 'x.py'])"
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith('error: mmkd needs torchvision >= 0.21, which is missing: run ')
