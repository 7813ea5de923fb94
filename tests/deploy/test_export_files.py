"""What importing the module starts."""

import os
import subprocess
import sys


def test_import_does_not_start_onnxruntimes_reporting(tmp_path):
    """onnxruntime 1.31.1 keeps ``onnxruntime.db`` in the home folder, and a thread for it."""
    environment = {k: v for k, v in os.environ.items() if k != 'ORT_DISABLE_TELEMETRY'}
    places = dict(HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / '.cache'))
    command = [sys.executable, '-c', 'import mmkd.deploy.export_files']
    subprocess.run(command, env=environment | places, check=True)
    assert not list(tmp_path.rglob('onnxruntime.db'))
