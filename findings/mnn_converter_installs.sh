#!/usr/bin/env bash
# MNN 3.6.1: to convert a file, mnnconvert installs another package and reports the conversion.
#
# Expected: a converter reads one file and writes another.
# Seen: each call runs `pip install -U aliyun-log-python-sdk` with the first pip of PATH, unless that
# package is there, without a question: also into another environment than MNN's. Version 0.9.52 of
# it brings protobuf 5. By its source (MNN/tools/utils/log.py) it then sends the machine's id, the
# sizes of both files and the options to a server. To call the module `_tools`, as below, does
# neither. Here a pip that writes down its arguments stands first in PATH: nothing is installed or
# sent. The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" MNN==3.6.1 onnx==1.23.2
mkdir "$folder/path"
cat > "$folder/path/pip" <<'PIP'
#!/bin/sh
echo "pip $*" >> "$(dirname "$0")/calls"
PIP
chmod +x "$folder/path/pip"
"$python" - "$folder" <<'PYTHON'
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import onnx

folder = Path(sys.argv[1])
graph = 'g (float[1, 4] x) => (float[1, 4] y) { y = Relu(x) }'
model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 18]> ' + graph)
onnx.save(model, folder / 'a.onnx')
environment = os.environ | dict(PATH=f'{folder}/path:{os.environ["PATH"]}')
missing = 'import sys; sys.modules["aliyun"] = None; '  # also where the package is installed
codes = dict(
    mnnconvert=f'{missing}from MNN.tools.mnnconvert import main; main()',
    _tools=f'{missing}import _tools; _tools.mnnconvert(sys.argv)',
)
found = {}
for name, code in codes.items():
    options = ['-f', 'ONNX', '--modelFile', 'a.onnx', '--MNNModel', f'{name}.mnn', '--bizCode', 'x']
    subprocess.run(
        [sys.executable, '-c', code, *options],
        cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL,
    )
    assert (folder / f'{name}.mnn').stat().st_size
    calls = folder / 'path/calls'
    found[name] = set(calls.read_text().splitlines()) if calls.exists() else set()
    calls.unlink(missing_ok=True)
    print(f'{name} ran {sorted(found[name]) or "nothing"}')
print('MNN', version('MNN'))
sys.exit(found != dict(mnnconvert={'pip install -U aliyun-log-python-sdk'}, _tools=set()))
PYTHON
