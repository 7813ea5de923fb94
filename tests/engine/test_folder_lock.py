import subprocess

import pytest

from mmkd.engine.folder_lock import lock_folder


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
