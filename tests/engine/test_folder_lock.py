import multiprocessing
import subprocess
import time

import pytest

from mmkd.engine.folder_lock import lock_folder
from mmkd.engine.teacher_preparation import _alone


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


def test_a_prepared_teacher_is_free_though_its_data_loaders_live(tmp_path):
    with _alone(tmp_path):
        loader = multiprocessing.get_context('fork').Process(target=time.sleep, args=(300,))
        loader.start()
    try:
        lock_folder(tmp_path).close()
    finally:
        loader.kill()
        loader.join()
