import multiprocessing
import subprocess
import time

import pytest

from mmkd.engine.folder_lock import HELD_FOR_ME, alone_in, lock_folder
from mmkd.errors import UserError


def test_one_at_a_time(tmp_path):
    folder = tmp_path / 'new/run'
    with lock_folder(folder), pytest.raises(BlockingIOError):
        lock_folder(folder)
    lock_folder(folder).close()


def test_a_process_that_inherits_it_holds_it_on(tmp_path):
    with lock_folder(tmp_path) as lock:
        child = subprocess.Popen(['cat'], stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    with pytest.raises(BlockingIOError):
        lock_folder(tmp_path)
    child.communicate()
    lock_folder(tmp_path).close()


def test_a_folder_is_free_though_data_loaders_live(tmp_path):
    with alone_in(tmp_path):
        loader = multiprocessing.get_context('fork').Process(target=time.sleep, args=(300,))
        loader.start()
    try:
        with lock_folder(tmp_path):
            assert loader.is_alive()
    finally:
        loader.kill()
        loader.join()


def test_patience_ends(tmp_path):
    message = f'another training runs in {tmp_path}; wait for its end'
    with (
        lock_folder(tmp_path),
        pytest.raises(UserError, match=message),
        alone_in(tmp_path, patience=0),
    ):
        pass


def test_what_the_parent_process_locked_is_ours(tmp_path, monkeypatch):
    monkeypatch.setenv(HELD_FOR_ME, str(tmp_path))
    with lock_folder(tmp_path), alone_in(tmp_path, patience=0):
        pass
    with lock_folder(tmp_path / 'another'), pytest.raises(UserError):
        with alone_in(tmp_path / 'another', patience=0):
            pass
