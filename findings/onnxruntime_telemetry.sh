#!/usr/bin/env bash
# onnxruntime 1.31.1: to import it starts a thread and writes a device's number and a database into
# the home folder.
#
#   PYTHON=... findings/onnxruntime_telemetry.sh     a Python with pip
#
# Expected: to import a package neither writes files nor starts a thread.
# Seen: without any session or model there are .cache/Microsoft/DeveloperTools/.onnxruntime/deviceid
# and onnxruntime.db in the home folder, and one thread more. With ORT_DISABLE_TELEMETRY=1 there are
# neither. The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" onnxruntime==1.31.1
mkdir "$folder/reporting" "$folder/silent"
for home in reporting silent; do
    disabled=$([ "$home" = silent ] && echo 1 || echo 0)
    HOME="$folder/$home" XDG_CACHE_HOME='' ORT_DISABLE_TELEMETRY="$disabled" "$python" - <<'PYTHON'
import os
import time
from pathlib import Path

import numpy  # has threads of its own

before = len(os.listdir('/proc/self/task'))
import onnxruntime

time.sleep(3)
threads = len(os.listdir('/proc/self/task')) - before
home = Path.home()
files = sorted(p.name for p in home.rglob('*') if p.is_file())
print(f'onnxruntime {onnxruntime.__version__}, {home.name}: {threads} new threads, files {files}')
assert home.name != 'silent' or (threads, files) == (0, [])
assert home.name != 'reporting' or threads == 1 and {'deviceid', 'onnxruntime.db'} <= set(files)
PYTHON
done
