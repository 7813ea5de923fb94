"""What a training says on a terminal, and what where there is none."""

import copy
import os
import re
import sys
import threading
from pathlib import Path

import pytest
from mmengine.runner import Runner

from mmkd.engine.launch import show_progress


class Terminal:
    """A pseudo-terminal as sys.stdout, and what was written on it."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        self.file = os.fdopen(slave, 'w')
        self.text = b''
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.master, 4096)
            except OSError:  # the other end is closed
                return
            if not part:
                return
            self.text += part

    def close(self) -> str:
        self.file.close()
        self.reader.join(10)
        os.close(self.master)
        return self.text.decode()


def train(recipe) -> Runner:
    config = copy.deepcopy(recipe)
    show_progress(config)
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv('COLUMNS', '160')
    monkeypatch.setenv('TERM', 'xterm')


def test_progress_bar_hook_in_terminal_shows_bar(recipe, wide, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stdout', terminal.file)
    runner = train(recipe)
    assert sys.stdout is terminal.file
    said = terminal.close()
    assert '4/4' in said and 'Iter(train)' not in said
    best = runner.message_hub.runtime_info['best_score']
    assert re.search(rf'loss [\d.]+, encoder [\d.e-]+, decoder [\d.e-]+, best {best:.4g}', said)
    assert '0:00:00' in said  # no time is left
    assert re.search(r'Iter\(val\) .*mIoU', said)  # messages stand above the bar
    (log,) = Path(runner.work_dir).glob('*/*.log')
    assert 'Iter(train) [4/4]' in log.read_text()


def test_progress_bar_hook_without_terminal_prints_lines(recipe, wide, capsys):
    train(recipe)
    said = capsys.readouterr().out
    assert 'Iter(train) [4/4]' in said and '\x1b' not in said
