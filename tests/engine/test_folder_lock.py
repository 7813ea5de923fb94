import multiprocessing
import subprocess
import time

import pytest

from mmkd.engine.folder_lock import LOCKED_BY_PARENT, exclusive_folder, lock_folder
from mmkd.errors import UserError


def test_lock_folder_twice_raises_blocking_io_error(tmp_path):
    folder = tmp_path / 'new/run'
    with lock_folder(folder), pytest.raises(BlockingIOError):
        lock_folder(folder)
    lock_folder(folder).close()


def test_lock_folder_inherited_by_process_stays_locked(tmp_path):
    with lock_folder(tmp_path) as lock:
        child = subprocess.Popen(['cat'], stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    with pytest.raises(BlockingIOError):
        lock_folder(tmp_path)
    child.communicate()
    lock_folder(tmp_path).close()


def test_exclusive_folder_with_live_data_loaders_is_released(tmp_path):
    with exclusive_folder(tmp_path):
        loader = multiprocessing.get_context('fork').Process(target=time.sleep, args=(300,))
        loader.start()
    try:
        with lock_folder(tmp_path):
            assert loader.is_alive()
    finally:
        loader.kill()
        loader.join()


def test_exclusive_folder_without_patience_raises_user_error(tmp_path):
    message = f'{tmp_path}: expected no other training here; wait until it ends'
    with (
        lock_folder(tmp_path),
        pytest.raises(UserError, match=message),
        exclusive_folder(tmp_path, patience=0),
    ):
        pass


def test_exclusive_folder_locked_by_parent_is_entered(tmp_path, monkeypatch):
    monkeypatch.setenv(LOCKED_BY_PARENT, str(tmp_path))
    with lock_folder(tmp_path), exclusive_folder(tmp_path, patience=0):
        pass
    with lock_folder(tmp_path / 'another'), pytest.raises(UserError):
        with exclusive_folder(tmp_path / 'another', patience=0):
            pass
