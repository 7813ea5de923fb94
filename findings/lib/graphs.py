"""Run a graph in ONNX's text form, in onnxruntime and in another runtime."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def run_mnn(graph: str, **inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the output in onnxruntime and in MNN."""
    import _tools  # what mnnconvert calls; that one also installs a package
    from MNN import expr, nn

    model = _model(graph)
    with tempfile.TemporaryDirectory() as folder, _silence():
        source, target = Path(folder, 'a.onnx'), Path(folder, 'a.mnn')
        onnx.save(model, source)
        files = ['--modelFile', str(source), '--MNNModel', str(target)]
        _tools.mnnconvert(['mnnconvert', '-f', 'ONNX', *files, '--bizCode', 'x'])
        outputs = [output.name for output in model.graph.output]
        network = nn.load_module_from_file(str(target), list(inputs), outputs)
        variables = []
        for value in inputs.values():
            variables.append(expr.placeholder(list(value.shape), expr.NCHW, expr.float))
            variables[-1].write(np.ascontiguousarray(value, np.float32))
        output = network.onForward(variables)[0]
        if len(output.shape) == 4:
            output = expr.convert(output, expr.NCHW)
        found = np.array(output.read()).reshape(output.shape)
    return _run_onnxruntime(model, inputs), found


@contextmanager
def _silence() -> Iterator[None]:
    """Hide what compiled code prints."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _model(graph: str) -> onnx.ModelProto:
    return onnx.parser.parse_model('<ir_version: 9, opset_import: ["": 20]> ' + graph)


def _run_onnxruntime(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> np.ndarray:
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    return session.run(None, inputs)[0]
