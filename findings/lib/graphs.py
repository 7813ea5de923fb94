"""Run a graph in ONNX's text form, in onnxruntime and in another runtime."""

import tempfile

import numpy as np
import onnx
import onnxruntime


def run_openvino(graph: str, **inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the output in onnxruntime, and in OpenVINO on the CPU in float32."""
    import openvino

    model = _model(graph)
    core = openvino.Core()
    settings = {'INFERENCE_PRECISION_HINT': 'f32'}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), 'CPU', settings)
    return _run_onnxruntime(model, inputs), compiled(inputs)[0]


def run_tract(graph: str, **inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the output in onnxruntime and in tract."""
    import tract

    model = _model(graph)
    with tempfile.NamedTemporaryFile(suffix='.onnx') as file:
        onnx.save(model, file.name)
        runnable = tract.onnx().load(file.name).into_model().into_runnable()
    found = runnable.run(list(inputs.values()))[0].to_numpy()
    return _run_onnxruntime(model, inputs), found


def _model(graph: str) -> onnx.ModelProto:
    return onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 20]> ' + graph)


def _run_onnxruntime(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    return session.run(None, inputs)[0]
