"""Write a network to a file, and load the file to check it."""

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

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.deploy.export_model import ExportModel
from mmkd.errors import UserError

# Metadata key of the JSON that describes the file beyond its inputs and outputs.
KEY = 'mmkd'
Predictor = Callable[[Tensor], tuple[Tensor, ...]]


def example_images(module: ExportModel, size: tuple[int, int], batch: int = 1) -> Tensor:
    """Return noise in the form that ``module`` takes, ``size`` = (H, W)."""
    generator = torch.Generator().manual_seed(0)
    if module.preprocesses:
        shape = (batch, *size, 3)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return torch.randn(batch, module.channels, *size, generator=generator)


@torch.no_grad()
def write_onnx(
    module: ExportModel, path: Path, size: tuple[int, int], dynamic: bool, facts: dict
) -> None:
    """Write ``module`` as ONNX.

    Args:
        module: The network to export.
        path: The file.
        size: Height and width of the images.
        dynamic: Whether batch, height and width can change; otherwise they are 1 and ``size``.
        facts: Stored in the file's metadata.
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
    module: ExportModel, path: Path, size: tuple[int, int], dynamic: bool, facts: dict
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
                '--format torchscript --dynamic: expected a network that does not compute with its '
                'image size; use --format onnx or leave out --dynamic'
            )
    with tempfile.NamedTemporaryFile(suffix='.pt') as file:
        torch.jit.save(traced, file.name, _extra_files={KEY: json.dumps(facts)})
        write_atomically(path, Path(file.name).read_bytes())


def write_int8(source: Path, path: Path, calibration: Iterable[Tensor]) -> None:
    """Quantise an ONNX file to 8 bits: weights per channel, activations per tensor.

    Args:
        source: The float32 file.
        path: The new file; it keeps the metadata.
        calibration: Images in the form that the file takes; they set the ranges of activations.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, quantised = Path(folder) / 'prepared.onnx', Path(folder) / 'int8.onnx'
        # Sizes that a network computes from its image's end onnxruntime's symbolic inference.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
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


def load_exported(path: Path) -> Predictor:
    """Load the function in a file written by this module, on the CPU."""
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
    """Return the largest absolute difference between the outputs of two networks."""
    pairs = zip(as_tuple(a), as_tuple(b), strict=True)
    return max((x.double() - y.double()).abs().max().item() for x, y in pairs)


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return one or several outputs as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


class _Calibration(CalibrationDataReader):
    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images: Iterator[Tensor] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        images = next(self._images, None)
        return None if images is None else dict(images=images.numpy())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' messages about every layer."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
