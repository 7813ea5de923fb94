import os

import pytest

from mmkd.engine import files
from mmkd.engine.files import AtomicBackend, link_atomically, write_atomically


def test_writes_and_makes_folders(tmp_path):
    path = tmp_path / 'a' / 'b.bin'
    write_atomically(path, b'new')
    assert path.read_bytes() == b'new'
    assert [p.name for p in path.parent.iterdir()] == ['b.bin']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'good')

    def full_disk(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(files.os, step, full_disk)
    with pytest.raises(OSError, match='No space'):
        AtomicBackend().put(b'half', str(path))
    monkeypatch.undo()
    assert path.read_bytes() == b'good'
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']


def test_link_replaces_and_shares(tmp_path):
    source, best = tmp_path / 'best_1.pth', tmp_path / 'best.pth'
    source.write_bytes(b'one')
    best.write_bytes(b'zero')
    link_atomically(source, best)
    source.unlink()
    assert best.read_bytes() == b'one'


def test_link_copies_where_there_are_no_links(tmp_path, monkeypatch):
    source, best = tmp_path / 'a', tmp_path / 'b'
    source.write_bytes(b'one')

    def no_links(*_):
        raise OSError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', no_links)
    link_atomically(source, best)
    assert best.read_bytes() == b'one'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a', 'b']
