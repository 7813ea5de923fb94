"""Writing a deployed network to a file, and reading it back to be checked."""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from mmkd.deploy.deployed import Deployed
from mmkd.engine.files import write_atomically
from mmkd.errors import UserError

# What a caller needs to know of the file beside its inputs and outputs, as JSON.
KEY = 'mmkd'
Predictor = Callable[[Tensor], tuple[Tensor, ...]]


def example_images(module: Deployed, size: tuple[int, int], batch: int = 1) -> Tensor:
    """Noise of the kind that ``module`` takes, ``size`` = (H, W)."""
    generator = torch.Generator().manual_seed(0)
    if module.preprocesses:
        shape = (batch, *size, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return torch.randn(batch, 3, *size, generator=generator)


@torch.no_grad()
def write_onnx(
    module: Deployed, path: Path, size: tuple[int, int], dynamic: bool, facts: dict
) -> None:
    """Write ``module`` as ONNX.

    Args:
        path: the file.
        size: height and width that it is for.
        dynamic: whether batch, height and width may change; else they are 1 and ``size``.
        facts: kept in the file's metadata.
    """
    rows, columns = (1, 2) if module.preprocesses else (2, 3)
    shapes = ({0: 'batch', rows: 'height', columns: 'width'},) if dynamic else None
    with _quiet():
        program = torch.onnx.export(
            module,
            (example_images(module, size, 2 if dynamic else 1),),
            dynamo=True,
            verbose=False,
            input_names=['images'],
            output_names=list(module.outputs),
            dynamic_shapes=shapes,
        )
    model = program.model_proto
    onnx.helper.set_model_props(model, {KEY: json.dumps(facts)})
    write_atomically(path, model.SerializeToString())


@torch.no_grad()
def write_torchscript(
    module: Deployed, path: Path, size: tuple[int, int], dynamic: bool, facts: dict
) -> None:
    """Write ``module`` as TorchScript, by tracing; arguments as in :func:`write_onnx`.

    Raises:
        UserError: ``dynamic``, and tracing has fixed a size in the network.
    """
    with _quiet():
        traced = torch.jit.trace(module, example_images(module, size), check_trace=False)
    if dynamic:
        height, width = size
        other = example_images(module, (height + 32, width + 64), 2)
        expected = as_tuple(module(other))
        try:
            same = all(
                torch.allclose(a, b, rtol=1e-3, atol=1e-3)
                for a, b in zip(expected, as_tuple(traced(other)), strict=True)
            )
        except RuntimeError:
            same = False
        if not same:
            raise UserError(
                '--format torchscript --dynamic: this network computes with its image size, which '
                'TorchScript fixes; use --format onnx or leave out --dynamic'
            )
    with tempfile.NamedTemporaryFile(suffix='.pt') as file:
        torch.jit.save(traced, file.name, _extra_files={KEY: json.dumps(facts)})
        write_atomically(path, Path(file.name).read_bytes())


def write_int8(source: Path, path: Path, calibration: Iterable[Tensor]) -> None:
    """Quantise an ONNX file to 8 bits: weights a channel, activations a tensor.

    Args:
        source: the file in float32.
        path: the new file; the metadata are kept.
        calibration: images as the file takes them, which set the activations' ranges.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, quantised = Path(folder) / 'prepared.onnx', Path(folder) / 'int8.onnx'
        quant_pre_process(source, prepared)
        quantize_static(
            prepared,
            quantised,
            _Calibration(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=['Conv', 'Gemm', 'MatMul'],
        )
        model = onnx.load(quantised)
    facts = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    onnx.helper.set_model_props(model, facts)
    write_atomically(path, model.SerializeToString())


def read_exported(path: Path) -> Predictor:
    """The function in a file written by this module, on the CPU."""
    if path.suffix == '.onnx':
        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        name = session.get_inputs()[0].name

        def predict(images: Tensor) -> tuple[Tensor, ...]:
            return tuple(torch.from_numpy(x) for x in session.run(None, {name: images.numpy()}))

        return predict
    network = torch.jit.load(str(path), map_location='cpu')

    def predict_traced(images: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return as_tuple(network(images))

    return predict_traced


def largest_difference(a: Tensor | tuple, b: Tensor | tuple) -> float:
    """The largest absolute difference between two networks' outputs."""
    pairs = zip(as_tuple(a), as_tuple(b), strict=True)
    return max((x.double() - y.double()).abs().max().item() for x, y in pairs)


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A network's outputs, one or several, as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


class _Calibration(CalibrationDataReader):
    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images: Iterator[Tensor] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        images = next(self._images, None)
        return None if images is None else dict(images=images.numpy())


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' remarks on every layer, silenced."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
