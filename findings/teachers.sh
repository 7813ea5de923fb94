#!/usr/bin/env bash
# transformers 5.24.0: SegformerConfig(layer_norm_eps=...) changes nothing.
#
#   PYTHON=... findings/teachers.sh     a Python that has PyTorch, huggingface_hub, safetensors
#
# Expected: the key, a field of the config that every folder's config.json states as 1e-06, is the
# epsilon of the network's layer norms.
# Seen: all of them have 1e-05 for any value of the key. A network that another code builds from
# config.json has other outputs than transformers, unless it ignores the key too.
# The exit status is 1 if this changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m pip install --quiet --no-deps --target "$folder" \
    transformers==5.24.0 tokenizers==0.23.3 regex==2026.11.19
PYTHONPATH="$folder" "$python" - <<'PYTHON'
import sys

import torch
import transformers
from transformers import SegformerConfig, SegformerForSemanticSegmentation

print('transformers', transformers.__version__, 'torch', torch.__version__)
outputs = []
for eps in (1e-6, 1.0):
    torch.manual_seed(0)
    config = SegformerConfig(layer_norm_eps=eps)
    network = SegformerForSemanticSegmentation(config).eval()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.LayerNorm)]
    print(f'layer_norm_eps={eps}: {len(norms)} layer norms with eps', {m.eps for m in norms})
    with torch.no_grad():
        outputs.append(network(pixel_values=torch.ones(1, 3, 64, 64)).logits)
same = torch.equal(*outputs)
print('the logits are', 'equal' if same else 'not equal')
sys.exit(not same)
PYTHON
