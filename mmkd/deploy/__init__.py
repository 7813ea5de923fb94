"""Export students to files that run without training code; needs ``pip install 'mmkd[deploy]'``."""

import os

from mmkd.requirements import check_requirements

# When onnxruntime 1.31.1 is imported it starts to report usage, from a database that it writes into
# the home folder.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
check_requirements(
    {
        'onnx': ('1.17', 'onnx==1.23.2'),
        'onnxscript': ('0.5', 'onnxscript==0.7.2'),
        'onnxruntime': ('1.20', 'onnxruntime==1.31.1'),
    }
)
