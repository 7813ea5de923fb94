"""Export students to files that run without training code; needs ``pip install 'mmkd[deploy]'``."""

from mmkd.requirements import check_requirements

check_requirements(
    {
        'onnx': ('1.17', 'onnx==1.23.2'),
        'onnxscript': ('0.5', 'onnxscript==0.7.2'),
        'onnxruntime': ('1.20', 'onnxruntime==1.31.1'),
    }
)
