"""Load an exported student in other runtimes, each with one thread.

Every loader imports its own package, so that any subset can be installed. ``pip install
'mmkd[runtimes]'`` installs all of them.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnx
import torch

from mmkd.deploy.export_files import as_tuple
from mmkd.deploy.export_model import ExportModel

Predict = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Student:
    """An exported student and the network that it was made of.

    Attributes:
        path: The ONNX file.
        module: The network, for runtimes that convert from PyTorch.
        example: Images (1, 3, H, W), float32, of the size that the file was made with.
    """

    path: Path
    module: ExportModel
    example: torch.Tensor

    @property
    def is_dynamic(self) -> bool:
        """Whether the file takes every size."""
        return any(dim.dim_param for dim in _input_dims(self.path))

    @property
    def is_quantised(self) -> bool:
        """Whether the file computes with 8 bits."""
        nodes = onnx.load(self.path, load_external_data=False).graph.node
        return any(node.op_type == 'QuantizeLinear' for node in nodes)


@dataclass(frozen=True)
class Loaded:
    """A student in a runtime.

    Attributes:
        predict: Returns the outputs of images (1, 3, H, W), in the student's order.
        size: Bytes of the files that the runtime needs.
    """

    predict: Predict
    size: int


def load_pytorch(student: Student) -> Loaded:
    """Run the network itself."""

    @torch.no_grad()
    def predict(images: np.ndarray) -> list[np.ndarray]:
        return [x.numpy() for x in as_tuple(student.module(torch.from_numpy(images)))]

    weights = student.module.state_dict().values()
    return Loaded(predict, sum(x.numel() * x.element_size() for x in weights))


def load_onnxruntime(student: Student) -> Loaded:
    """Run the ONNX file in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ['CPUExecutionProvider']
    session = onnxruntime.InferenceSession(str(student.path), options, providers=providers)
    return Loaded(lambda images: session.run(None, {'images': images}), _bytes(student.path))


def load_openvino(student: Student) -> Loaded:
    """Run the ONNX file in OpenVINO, in float32."""
    import openvino

    settings = {'INFERENCE_NUM_THREADS': 1, 'INFERENCE_PRECISION_HINT': 'f32'}
    compiled = openvino.Core().compile_model(str(student.path), 'CPU', settings)

    def predict(images: np.ndarray) -> list[np.ndarray]:
        found = compiled(images)
        return [found[output].copy() for output in compiled.outputs]

    return Loaded(predict, _bytes(student.path))


def load_ncnn(student: Student) -> Loaded:
    """Convert the ONNX file by pnnx, and run it in ncnn in float32."""
    import ncnn
    import pnnx

    with tempfile.TemporaryDirectory() as folder:
        shapes = [list(student.example.shape)]
        if student.is_dynamic:
            shapes.append([*shapes[0][:2], shapes[0][2] + 32, shapes[0][3] + 64])
        source = Path(folder) / 'student.onnx'
        source.write_bytes(student.path.read_bytes())  # pnnx writes beside its source
        names = ('inputshape', 'inputshape2')
        given = [f'{n}={s}f32'.replace(' ', '') for n, s in zip(names, shapes, strict=False)]
        param, weights = Path(folder) / 'student.ncnn.param', Path(folder) / 'student.ncnn.bin'
        _convert('pnnx', [pnnx.EXEC_PATH, source, *given, 'fp16=0'], param)
        network = ncnn.Net()
        network.opt.num_threads = 1
        for name in ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic'):
            setattr(network.opt, name, False)
        network.opt.use_bf16_storage = False
        if network.load_param(str(param)) or network.load_model(str(weights)):
            raise RuntimeError("ncnn does not load pnnx's files")
        size = _bytes(param, weights)

    def predict(images: np.ndarray) -> list[np.ndarray]:
        extractor = network.create_extractor()
        extractor.input(network.input_names()[0], ncnn.Mat(np.ascontiguousarray(images[0])))
        found = []
        for name in network.output_names():
            status, output = extractor.extract(name)
            if status:
                raise RuntimeError(f'ncnn ends with {status} at {name}')
            found.append(np.array(output)[None])  # ncnn has no axis of images
        return found

    return Loaded(predict, size)


def load_mnn(student: Student) -> Loaded:
    """Convert the ONNX file for MNN, and run it in float32."""
    from MNN import expr, nn

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / 'student.mnn'
        # mnnconvert calls this too, and installs a package before (findings/).
        code = 'import sys, _tools; _tools.mnnconvert(sys.argv)'
        files = ['--modelFile', student.path.resolve(), '--MNNModel', target]
        command = [sys.executable, '-c', code, '-f', 'ONNX', *files, '--bizCode', 'mmkd']
        _convert('MNN', command, target)
        settings = dict(backend='CPU', numThread=1, precision='high')
        manager = nn.create_runtime_manager((settings,))
        outputs = list(student.module.outputs)
        network = nn.load_module_from_file(
            str(target), ['images'], outputs, runtime_manager=manager
        )
        size = _bytes(target)

    def predict(images: np.ndarray) -> list[np.ndarray]:
        source = expr.placeholder(list(images.shape), expr.NCHW, expr.float)
        source.write(np.ascontiguousarray(images))
        found = []
        for output in network.onForward([source]):
            if len(output.shape) == 4:  # MNN computes in a layout of its own
                output = expr.convert(output, expr.NCHW)
            found.append(np.array(output.read()).reshape(output.shape))
        return found

    return Loaded(predict, size)


def load_tract(student: Student) -> Loaded:
    """Run the ONNX file in tract, which prepares a dynamic one for each size anew."""
    import tract
    from tract.transform import SetSymbols

    dims = _input_dims(student.path)

    @cache
    def runnable_of(shape: tuple[int, ...]) -> tract.Runnable:
        model = tract.onnx().load(student.path).into_model()
        names = {dim.dim_param: size for dim, size in zip(dims, shape, strict=True)}
        names.pop('', None)  # of fixed dims
        model.transform(SetSymbols(names))
        return model.into_runnable()

    runnable_of(tuple(student.example.shape))
    return Loaded(
        lambda images: [x.to_numpy() for x in runnable_of(images.shape).run([images])],
        _bytes(student.path),
    )


def load_litert(student: Student) -> Loaded:
    """Convert the network by litert-torch, for the example's size."""
    _check_float(student)
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter

    converted = litert_torch.convert(student.module.eval(), (student.example,))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'student.tflite'
        converted.export(str(path))
        content = path.read_bytes()
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]['index']

    def predict(images: np.ndarray) -> list[np.ndarray]:
        if images.shape != student.example.shape:
            raise RuntimeError('converted for one size')
        interpreter.set_tensor(source, images)
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        return [interpreter.get_tensor(output['index']) for output in outputs]

    return Loaded(predict, len(content))


def load_executorch(student: Student) -> Loaded:
    """Convert the network by ExecuTorch for XNNPACK; a dynamic one up to twice the size."""
    _check_float(student)
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    # ExecuTorch calls its flatc by name. It lies beside this Python, which PATH may not hold.
    os.environ['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    shapes = None
    if student.is_dynamic:
        sides = {axis: student.example.shape[axis] for axis in (2, 3)}
        shapes = ({a: torch.export.Dim.AUTO(max=2 * side) for a, side in sides.items()},)
    with torch.no_grad():
        program = torch.export.export(student.module, (student.example,), dynamic_shapes=shapes)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    content = lowered.to_executorch().buffer
    portable_lib._unsafe_reset_threadpool(1)
    loaded = Runtime.get().load_program(content)
    method = loaded.load_method('forward')

    def predict(images: np.ndarray) -> list[np.ndarray]:
        assert loaded  # the method reads from it
        return [x.numpy().copy() for x in method.execute([torch.from_numpy(images)])]

    return Loaded(predict, len(content))


# By name: the distribution whose version stands for it, and the loader.
RUNTIMES: dict[str, tuple[str, Callable[[Student], Loaded]]] = {
    'PyTorch': ('torch', load_pytorch),
    'onnxruntime': ('onnxruntime', load_onnxruntime),
    'OpenVINO': ('openvino', load_openvino),
    'ncnn': ('ncnn', load_ncnn),
    'MNN': ('MNN', load_mnn),
    'tract': ('tract', load_tract),
    'LiteRT': ('litert-torch', load_litert),
    'ExecuTorch': ('executorch', load_executorch),
}


def installed_runtimes() -> dict[str, str]:
    """Return the versions of the runtimes that are installed."""
    found = {}
    for name, (distribution, _) in RUNTIMES.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            continue
    return found


def _convert(name: str, command: Sequence[str | Path], target: Path) -> None:
    """Run a converter in the folder of the file that it writes.

    Raises:
        RuntimeError: It fails, or does not write the file.
    """
    log = subprocess.run(command, capture_output=True, text=True, cwd=target.parent)
    if log.returncode or not target.is_file():
        lines = (log.stdout + log.stderr).strip().splitlines() or ['nothing']
        raise RuntimeError(f'{name} ends with {log.returncode}, its last line: {lines[-1]}')


def _check_float(student: Student) -> None:
    if student.is_quantised:
        raise RuntimeError('converted from PyTorch, in float32 only')


def _input_dims(path: Path) -> list:
    """Return the dimensions of an ONNX file's images, each a number or a name."""
    graph = onnx.load(path, load_external_data=False).graph
    return list(graph.input[0].type.tensor_type.shape.dim)


def _bytes(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths)
