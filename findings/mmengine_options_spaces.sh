#!/usr/bin/env bash
# onedl-mmengine 0.10.12: --cfg-options takes the spaces out of every text, and reads a quoted number
# as a number.
#
#   PYTHON=... findings/mmengine_options_spaces.sh     a Python with torch
#
# Documented: DictAction parses KEY=VALUE; a list is [a,b], and quotation marks are allowed in it.
# Seen: the path "/data/my images" becomes "/data/myimages", the class "traffic light" becomes
# "trafficlight", and a fold that is named "01" becomes the number 1. Nothing warns: a folder is then
# missing, or a class has another name.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps onedl-mmengine==0.10.12
"$python" -W ignore - <<'PYTHON'
import argparse
import sys

import mmengine
from mmengine.config import DictAction

parser = argparse.ArgumentParser()
parser.add_argument('--cfg-options', nargs='+', action=DictAction)
options = parser.parse_args(
    ['--cfg-options', 'root=/data/my images', 'classes=["traffic light","car"]', 'fold="01"']
).cfg_options
print('mmengine', mmengine.__version__)
print(options)
seen = dict(root='/data/myimages', classes=['trafficlight', 'car'], fold=1)
sys.exit(options != seen)
PYTHON
