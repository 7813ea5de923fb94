import os

import pytest

from mmkd.checkpoints import atomic_files
from mmkd.checkpoints.atomic_files import (
    AtomicBackend,
    find_last_checkpoint,
    link_atomically,
    remove_partial_checkpoints,
    write_atomically,
)
from mmkd.errors import UserError


def test_write_atomically_makes_folders(tmp_path):
    path = tmp_path / 'a' / 'b.bin'
    write_atomically(path, b'new')
    assert path.read_bytes() == b'new'
    assert [p.name for p in path.parent.iterdir()] == ['b.bin']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_write_atomically_failure_keeps_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'good')

    def full_disk(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(atomic_files.os, step, full_disk)
    with pytest.raises(OSError, match='No space'):
        AtomicBackend().put(b'half', str(path))
    monkeypatch.undo()
    assert path.read_bytes() == b'good'
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']


def test_link_atomically_replaces_and_shares(tmp_path):
    source, best = tmp_path / 'best_1.pth', tmp_path / 'best.pth'
    source.write_bytes(b'one')
    best.write_bytes(b'zero')
    for _ in range(2):  # the second time there is nothing to replace
        link_atomically(source, best)
        assert sorted(p.name for p in tmp_path.iterdir()) == ['best.pth', 'best_1.pth']
    source.unlink()
    assert best.read_bytes() == b'one'


def test_link_atomically_without_hard_links_copies(tmp_path, monkeypatch):
    source, best = tmp_path / 'a', tmp_path / 'b'
    source.write_bytes(b'one')

    def no_links(*_):
        raise OSError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', no_links)
    link_atomically(source, best)
    assert best.read_bytes() == b'one'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['a', 'b']


@pytest.mark.parametrize(
    'note', [None, '', '\n', '\0' * 30, '{folder}/iter_7.pth', '\udcff', 'x' * 5000, 'a\0b']
)
def test_find_last_checkpoint_without_note_is_the_newest(tmp_path, note):
    for name in ('iter_2.pth', 'iter_10.pth', 'best.pth', 'best_mIoU_iter_12.pth', 'iter_x.pth'):
        (tmp_path / name).touch()
    if note is not None:
        text = note.format(folder=tmp_path)
        (tmp_path / 'last_checkpoint').write_text(text, errors='surrogateescape')
    assert find_last_checkpoint(tmp_path) == str(tmp_path / 'iter_10.pth')


def test_find_last_checkpoint_follows_note_of_existing_file(tmp_path):
    for name in ('iter_2.pth', 'iter_10.pth'):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_2.pth'))
    assert find_last_checkpoint(tmp_path) == str(tmp_path / 'iter_2.pth')


def test_find_last_checkpoint_of_moved_work_dir_ignores_old_place(tmp_path):
    for name in ('old', 'new'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'iter_2.pth').touch()
    (tmp_path / 'old/last_checkpoint').write_text(str(tmp_path / 'new/iter_2.pth'))
    assert find_last_checkpoint(tmp_path / 'old') == str(tmp_path / 'old/iter_2.pth')


def test_find_last_checkpoint_of_another_run_is_refused(tmp_path):
    (tmp_path / 'copy').mkdir()
    (tmp_path / 'first').mkdir()
    (tmp_path / 'first/iter_2.pth').touch()
    (tmp_path / 'copy/last_checkpoint').write_text(str(tmp_path / 'first/iter_2.pth'))
    with pytest.raises(UserError, match='iter_2.pth, the checkpoint of another run: expected one'):
        find_last_checkpoint(tmp_path / 'copy')
    (tmp_path / 'copy/iter_1.pth').touch()
    assert find_last_checkpoint(tmp_path / 'copy') == str(tmp_path / 'copy/iter_1.pth')


def test_find_last_checkpoint_of_another_run_with_the_folders_name_is_refused(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name / 'seed_0').mkdir(parents=True)
        note = tmp_path / name / 'seed_0/last_checkpoint'
        note.write_text(str(tmp_path / 'a/seed_0/iter_2.pth'))
    (tmp_path / 'a/seed_0/iter_2.pth').touch()
    with pytest.raises(UserError, match='the checkpoint of another run'):
        find_last_checkpoint(tmp_path / 'b/seed_0')


def test_find_last_checkpoint_in_the_out_dir_of_a_hook_is_found(tmp_path):
    for folder in ('run', 'elsewhere/run'):  # MMEngine adds the work dir's name
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'elsewhere/run/iter_2.pth').touch()
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'elsewhere/run/iter_2.pth'))
    found = find_last_checkpoint(tmp_path / 'run')
    assert found == str(tmp_path / 'elsewhere/run/iter_2.pth')


def test_find_last_checkpoint_of_vanished_file_is_that_file(tmp_path):
    assert find_last_checkpoint(tmp_path) is None
    (tmp_path / 'last_checkpoint').write_text('gone/iter_2.pth\n')
    assert find_last_checkpoint(tmp_path) == 'gone/iter_2.pth'


def test_remove_partial_checkpoints_of_killed_processes_deletes_them(tmp_path):
    for name in ('iter_2.pth', '.iter_4.pth.123', '.best.pth.7', '.hidden.pth', 'a.py'):
        (tmp_path / name).touch()
    remove_partial_checkpoints(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['.hidden.pth', 'a.py', 'iter_2.pth']
