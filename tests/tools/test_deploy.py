"""The exporting and the predicting command, as typed, on small networks."""

import io
import json
import runpy
import shutil
import struct
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import cv2
import mmcv
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope
from mmseg.apis import inference_model, init_model
from mmseg.structures import SegDataSample

from mmkd.config.load import load_config
from mmkd.datasets import render_street
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
MEAN = [123.675, 116.28, 103.53]
EXPORT = str(ROOT / 'tools/deploy/export.py')

# Few layers, and the pooling over bins that an export must take apart.
STUDENT = f"""
_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'
model = dict(
    backbone=dict(
        _delete_=True, type='UNet', base_channels=4, num_stages=2, strides=(1, 2),
        enc_num_convs=(1, 1), dec_num_convs=(1,), downsamples=(True,), enc_dilations=(1, 1),
        dec_dilations=(1,)),
    decode_head=dict(
        _delete_=True, type='PSPHead', in_channels=4, in_index=1, channels=4, num_classes=11,
        pool_scales=(1, 3), align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss')),
    auxiliary_head=None)
train_dataloader = dict(dataset=dict(size=(48, 64)))
val_dataloader = dict(dataset=dict(length=3, size=(48, 64)))
test_dataloader = val_dataloader
"""
VMAMBA = (
    STUDENT.split('model = ')[0]
    + """
model = dict(
    backbone=dict(_delete_=True, type='mmkd.VMamba', depths=(1, 1, 1, 1), dims=8),
    decode_head=dict(
        _delete_=True, type='SegformerHead', in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3],
        channels=8, num_classes=11, align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss')),
    auxiliary_head=None)
"""
    + STUDENT.split('auxiliary_head=None)')[1]
)
DETECTOR = """
_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
model = dict(
    backbone=dict(base_channels=8, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    bbox_head=dict(num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1))
"""
YOLO = f"""
_base_ = '{ROOT}/configs/_base_/models/yolo11_n.py'
custom_imports = dict(imports=['mmkd'])
default_scope = 'mmdet'
model = dict(bbox_head=dict(num_classes=3))
"""


def run(monkeypatch, capfd, tool: str, *args) -> tuple[int, str, str]:
    """Exit status, output and errors of a tool, run in this process."""
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    status = 0
    try:
        runpy.run_path(str(ROOT / 'tools/deploy' / f'{tool}.py'), run_name='__main__')
    except SystemExit as stop:
        status = stop.code
    return status, *capfd.readouterr()


def save(folder: Path, name: str, text: str, scope: str) -> tuple[Path, Path]:
    """A config and a checkpoint of its network, with weights that tell classes apart."""
    config, checkpoint = folder / f'{name}.py', folder / f'{name}.pth'
    config.write_text(text)
    with DefaultScope.overwrite_default_scope(scope):
        torch.manual_seed(0)
        network = MODELS.build(load_config(str(config)).model)
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            gain = 0.05 if name.endswith(('retina_cls', 'retina_reg')) else 1.5
            torch.nn.init.xavier_normal_(module.weight, gain=gain)
            if name.startswith('bbox_head.box') and module.bias is not None:
                module.bias.data = -torch.arange(16.0).repeat(4)  # YOLO's: boxes of about a stride
    torch.save(dict(state_dict=network.state_dict(), meta={}), checkpoint)
    return config, checkpoint


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Two street images, and the same two as a video."""
    folder = tmp_path_factory.mktemp('deploy')
    (folder / 'images').mkdir()
    writer = cv2.VideoWriter(
        str(folder / 'drive.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (128, 96)
    )
    for i in range(2):
        image = render_street(i, 'val', (96, 128)).image
        cv2.imwrite(str(folder / f'images/{i}.png'), image)
        writer.write(image)
    writer.release()
    (folder / 'images/notes.txt').write_text('no image')
    return folder


@pytest.fixture(scope='module')
def segmentor(folder) -> tuple[Path, Path]:
    return save(folder, 'segmentor', STUDENT, 'mmseg')


@pytest.fixture(scope='module')
def exported(folder, segmentor) -> tuple[Path, str]:
    """The segmentor as ONNX with everything inside, and what the tool said."""
    out, said = folder / 'inside.onnx', io.StringIO()
    args = [*segmentor, '--out', out, '--dynamic', '--preprocess', '--argmax', '--evaluate']
    with redirect_stdout(said), patch.object(sys, 'argv', ['export', *map(str, args)]):
        runpy.run_path(EXPORT, run_name='__main__')
    return out, said.getvalue()


@pytest.fixture(scope='module')
def logits_file(folder, segmentor) -> Path:
    """The segmentor as ONNX of one size that takes preprocessed images and yields logits."""
    out = folder / 'logits.onnx'
    with patch.object(sys, 'argv', ['export', *map(str, segmentor), '--out', str(out)]):
        runpy.run_path(EXPORT, run_name='__main__')
    return out


def scores(said: str) -> list[float]:
    return [float(line.rsplit(' ', 1)[1]) for line in said.splitlines() if ': mIoU ' in line]


def test_export_onnx_scores_as_pytorch(exported):
    _, said = exported
    pytorch, labels, file = scores(said)
    assert pytorch == labels > 0 and abs(pytorch - file) <= 0.01
    assert 'labels of 2 x 80 x 128: 0.000% of the pixels differ from PyTorch' in said


def own_labels(segmentor: tuple[Path, Path], image: np.ndarray) -> np.ndarray:
    """The network's own labels of an image at its test size, as MMSegmentation predicts them."""
    model = init_model(str(segmentor[0]), str(segmentor[1]), device='cpu')
    small = cv2.resize(image, (64, 48), interpolation=cv2.INTER_LINEAR)
    return inference_model(model, small).pred_sem_seg.data[0].numpy().astype(np.uint8)


def test_infer_labels_of_folder_equal_network(
    exported, segmentor, folder, monkeypatch, capfd, tmp_path
):
    args = [exported[0], folder / 'images', '--out', tmp_path, '--labels', '--batch', 2]
    status, _, errors = run(monkeypatch, capfd, 'infer', *args)
    assert status == 0 and errors.splitlines()[-1].startswith('2/2 images')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['0.png', '1.png']
    for i in range(2):
        image = cv2.imread(str(folder / f'images/{i}.png'))
        own = own_labels(segmentor, image)
        own = cv2.resize(own, (128, 96), interpolation=cv2.INTER_NEAREST)
        written = cv2.imread(str(tmp_path / f'{i}.png'), cv2.IMREAD_UNCHANGED)
        assert written.shape == (96, 128) and len(np.unique(written)) > 1
        assert (written != own).mean() < 1e-3


def test_infer_logits_file_gives_labels_of_the_label_file(exported, logits_file, folder):
    infer = runpy.run_path(str(ROOT / 'tools/deploy/infer.py'))
    image = cv2.imread(str(folder / 'images/0.png'))
    inside = infer['Model'](str(exported[0]))([image])[0]['labels']
    result = infer['Model'](str(logits_file))([image])[0]
    outside = result['logits']
    assert (outside.argmax(0) != inside).mean() < 1e-3
    # Given logits, labels are taken at the size of the image.
    labels = infer['labels_of'](result, (96, 128))
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(outside)[None], size=(96, 128), mode='bilinear', align_corners=False
    )
    assert (labels != resized[0].argmax(0).numpy()).mean() < 1e-3


@pytest.mark.parametrize(
    'head',
    [
        'num_classes=11, align_corners=True',
        'num_classes=2, out_channels=1, align_corners=False',
        'num_classes=2, out_channels=1, threshold=0.6, align_corners=True',
    ],
)
def test_infer_logits_file_gives_the_heads_own_labels(folder, monkeypatch, capfd, tmp_path, head):
    text = STUDENT.replace('align_corners=False,', '').replace('num_classes=11', head)
    config, checkpoint = save(tmp_path, 'head', text, 'mmseg')
    own, out = init_model(str(config), str(checkpoint), device='cpu'), tmp_path / 'head.onnx'
    image = cv2.imread(str(folder / 'images/0.png'))
    facts = dict(ori_shape=(96, 128), img_shape=(48, 64), padding_size=[0] * 4)
    samples = [SegDataSample(metainfo=facts)]
    small = torch.from_numpy(cv2.resize(image, (64, 48))).permute(2, 0, 1)
    inputs = own.data_preprocessor(dict(inputs=[small], data_samples=samples))['inputs']
    with torch.no_grad():  # no class wins everywhere, and sigmoids spread
        last = own.decode_head.conv_seg
        logits = own.encode_decode(inputs, [facts])
        last.weight /= logits.std()
        last.bias.copy_(-logits.mean((0, 2, 3)) / logits.std())
        expected = own.predict(inputs, samples)[0].pred_sem_seg.data[0].numpy()
    torch.save(dict(state_dict=own.state_dict(), meta={}), checkpoint)
    assert run(monkeypatch, capfd, 'export', config, checkpoint, '--out', out)[0] == 0
    infer = runpy.run_path(str(ROOT / 'tools/deploy/infer.py'))
    labels = infer['labels_of'](infer['Model'](str(out))([image])[0], (96, 128))
    assert len(np.unique(expected)) > 1
    assert (labels != expected).mean() < 1e-3


def test_infer_file_with_one_logit_and_no_threshold_is_refused(
    folder, monkeypatch, capfd, tmp_path
):
    text = STUDENT.replace('num_classes=11', 'num_classes=2, out_channels=1')
    network, out = save(tmp_path, 'binary', text, 'mmseg'), tmp_path / 'binary.onnx'
    assert run(monkeypatch, capfd, 'export', *network, '--out', out)[0] == 0
    model = onnx.load(out)
    facts = json.loads(model.metadata_props[0].value)
    assert (facts.pop('threshold'), facts.pop('align_corners')) == (0.3, False)
    onnx.helper.set_model_props(model, dict(mmkd=json.dumps(facts)))
    onnx.save(model, out)
    args = [out, folder / 'images/0.png', '--out', tmp_path / 'o']
    status, _, errors = run(monkeypatch, capfd, 'infer', *args)
    assert status == 2 and 'metadata threshold=None: expected' in errors


def test_infer_video_becomes_video_of_overlays(exported, folder, monkeypatch, capfd, tmp_path):
    args = [exported[0], folder / 'drive.avi', '--out', tmp_path]
    status, said, errors = run(monkeypatch, capfd, 'infer', *args)
    assert status == 0, errors
    assert said.strip() == str(tmp_path / 'drive.mp4')
    video = cv2.VideoCapture(str(tmp_path / 'drive.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 2 and video.get(cv2.CAP_PROP_FPS) == 5
    frame, source = video.read()[1], cv2.imread(str(folder / 'images/0.png'))
    assert frame.shape == source.shape and (frame != source).mean() > 0.5


def test_infer_unwritable_video_raises_user_error(exported, folder, monkeypatch, capfd, tmp_path):
    (tmp_path / 'drive.mp4').mkdir()
    args = [exported[0], folder / 'drive.avi', '--out', tmp_path]
    status, _, errors = run(monkeypatch, capfd, 'infer', *args)
    assert status == 2 and errors.endswith(f'error: {tmp_path / "drive.mp4"} cannot be written\n')


@pytest.mark.parametrize('kept', [0.4, 0.8])
def test_infer_truncated_video_is_an_error(exported, monkeypatch, capfd, tmp_path, kept):
    path = tmp_path / 'cut.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (128, 96))
    noise = np.random.default_rng(0)
    for _ in range(10):
        writer.write(noise.integers(0, 255, (96, 128, 3), dtype=np.uint8))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    status, _, errors = run(monkeypatch, capfd, 'infer', exported[0], path, '--out', tmp_path / 'o')
    assert status == 2 and 'of 10 frames could be read, is the file cut off' in errors
    assert cv2.VideoCapture(str(tmp_path / 'o/cut.mp4')).read()[0]


def test_infer_video_on_full_disk_is_an_error(exported, folder, tmp_path):
    limit = 'ulimit -f 1; exec "$@"'  # files of 1 KiB
    command = [sys.executable, ROOT / 'tools/deploy/infer.py', exported[0], folder / 'drive.avi']
    done = subprocess.run(
        ['bash', '-c', limit, 'bash', *command], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2 and 'error: ' in done.stderr and 'Traceback' not in done.stderr
    assert not list((tmp_path / 'predictions').iterdir())


@pytest.mark.parametrize(
    'key, value',
    [
        ('task', None), ('task', 'depth'), ('task', 'detection'), ('size', [0, 64]), ('size', 64),
        ('classes', 'ab'), ('palette', [[1, 2]]), ('mean', [1]), ('std', [1, 0, 1]),
        ('threshold', 1.5), ('align_corners', 1), ('keep_ratio', 1),
        ('nms_iou', 1.5), ('nms_iou', None), ('max_boxes', 0), ('max_boxes', 1.5),
        ('rgb', 1), ('pad_value', 'x'), ('palette', [[0, 0, 300]]), ('palette', [[0, 0, -1]]),
        ('size', [65536, 65536]), ('std', [1, 1e-9, 1]), ('mean', [0, 0, 1e300]),
    ],
)  # fmt: skip
def test_infer_foreign_metadata_raise_user_error(
    exported, folder, monkeypatch, capfd, tmp_path, key, value
):
    model = onnx.load(exported[0])
    facts = json.loads(model.metadata_props[0].value) | {key: value}
    onnx.helper.set_model_props(model, dict(mmkd=json.dumps(facts)))
    onnx.save(model, tmp_path / 'a.onnx')
    args = [tmp_path / 'a.onnx', folder / 'images/0.png', '--out', tmp_path / 'o']
    status, _, errors = run(monkeypatch, capfd, 'infer', *args)
    assert status == 2 and f'metadata {key}=' in errors and 'Traceback' not in errors


@pytest.mark.parametrize('keep_ratio', [True, False])
@pytest.mark.parametrize(
    'height, width', [(2980, 4000), (501, 331), (7, 2000), (1, 1), (96, 128), (9, 256)]
)
def test_infer_box_of_the_whole_image_is_the_whole_image(tmp_path, height, width, keep_ratio):
    """Sizes are rounded to pixels, so an image's two scales differ."""
    rows, columns = 96, 128
    if keep_ratio:
        columns, rows = mmcv.rescale_size((width, height), min(96 / height, 128 / width))
        rows, columns = max(1, rows), max(1, columns)
    outputs = dict(boxes=np.float32([[[0, 0, columns, rows]]]), scores=np.float32([[[0.9]]]))
    tensors = {key: onnx.numpy_helper.from_array(value) for key, value in outputs.items()}
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node('Constant', [], [key], value=value)
            for key, value in tensors.items()
        ],
        'detector',
        [onnx.helper.make_tensor_value_info('images', kind, [1, 3, 96, 128])],
        [onnx.helper.make_tensor_value_info(k, kind, v.shape) for k, v in outputs.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 18)])
    model.ir_version = 9
    facts = dict(task='detection', size=[96, 128], classes=['a'], palette=None, rgb=True)
    facts |= dict(mean=[0, 0, 0], std=[255, 255, 255], pad_value=0, keep_ratio=keep_ratio)
    onnx.helper.set_model_props(model, dict(mmkd=json.dumps(facts)))
    onnx.save(model, tmp_path / 'a.onnx')
    infer = runpy.run_path(str(ROOT / 'tools/deploy/infer.py'))
    image = np.zeros((height, width, 3), np.uint8)
    result = infer['Model'](str(tmp_path / 'a.onnx'))([image])[0]
    ((box, _, _),) = infer['boxes_of'](result, (height, width), 0.5, 0.5)
    assert result['scale'] == pytest.approx((columns / width, rows / height))
    assert box == pytest.approx([0, 0, width, height], rel=1e-5)


def test_infer_find_images_passes_over_hidden_files(tmp_path):
    for name in ('b.png', '._b.png', 'a.JPG'):
        (tmp_path / name).touch()
    found = runpy.run_path(str(ROOT / 'tools/deploy/infer.py'))['find_images'](tmp_path)
    assert [path.name for path in found] == ['a.JPG', 'b.png']


def test_infer_fewer_names_than_classes_raise_user_error(
    logits_file, folder, monkeypatch, capfd, tmp_path
):
    model = onnx.load(logits_file)
    facts = json.loads(model.metadata_props[0].value)
    facts['classes'] = facts['classes'][:-1]
    onnx.helper.set_model_props(model, dict(mmkd=json.dumps(facts)))
    onnx.save(model, tmp_path / 'a.onnx')
    args = [tmp_path / 'a.onnx', folder / 'images/0.png', '--out', tmp_path / 'o']
    status, _, errors = run(monkeypatch, capfd, 'infer', *args)
    known = len(facts['classes'])
    assert status == 2 and f'metadata classes: {known} names for {known + 1} classes' in errors


def test_infer_ids_beyond_256_classes_without_names_have_colours(tmp_path, monkeypatch, capfd):
    shape = ['batch', 'height', 'width', 3]
    nodes = [
        onnx.helper.make_node('Cast', ['images'], ['wide'], to=onnx.TensorProto.INT32),
        onnx.helper.make_node('ReduceSum', ['wide', 'axis'], ['labels'], keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes, 'sum',
        [onnx.helper.make_tensor_value_info('images', onnx.TensorProto.UINT8, shape)],
        [onnx.helper.make_tensor_value_info('labels', onnx.TensorProto.INT32, shape[:3])],
        [onnx.helper.make_tensor('axis', onnx.TensorProto.INT64, [1], [3])],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 13)])
    model.ir_version = 8
    facts = dict(task='segmentation', size=[8, 8], classes=None, palette=None, mean=[0, 0, 0])
    facts |= dict(std=[1, 1, 1], rgb=False, pad_value=0)
    onnx.helper.set_model_props(model, dict(mmkd=json.dumps(facts)))
    onnx.save(model, tmp_path / 'sum.onnx')
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((8, 8, 3), 200, np.uint8))
    args = [tmp_path / 'sum.onnx', tmp_path / 'a.png', '--out', tmp_path / 'o']
    assert run(monkeypatch, capfd, 'infer', *args)[0] == 0
    assert run(monkeypatch, capfd, 'infer', *args, '--labels')[0] == 0
    assert (cv2.imread(str(tmp_path / 'o/a.png'), cv2.IMREAD_UNCHANGED) == 600).all()


def test_infer_too_large_image_raises_user_error(exported, monkeypatch, capfd, tmp_path):
    image = (tmp_path / 'a.bmp').absolute()
    cv2.imwrite(str(image), np.zeros((8, 8, 3), np.uint8))
    data = bytearray(image.read_bytes())
    data[18:26] = struct.pack('<ii', 2**20, 2**20)
    image.write_bytes(data)
    status, _, errors = run(monkeypatch, capfd, 'infer', exported[0], image, '--out', tmp_path)
    assert status == 2 and 'a.bmp cannot be read as an image' in errors


def test_infer_imports_neither_pytorch_nor_mmkd(exported, folder, tmp_path):
    code = f"""
import runpy, sys
sys.argv = ['infer', {str(exported[0])!r}, {str(folder / 'images/0.png')!r}]
runpy.run_path({str(ROOT / 'tools/deploy/infer.py')!r}, run_name='__main__')
assert not {{'torch', 'mmkd', 'mmengine', 'mmcv', 'mmseg'}} & set(sys.modules)
"""
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True)
    assert (tmp_path / 'predictions/0.png').is_file()


def test_export_int8_weights_are_a_quarter(segmentor, logits_file, monkeypatch, capfd):
    out = logits_file.with_name('int8.onnx')
    args = [*segmentor, '--out', out, '--int8', '--calibration', 3, '--preprocess', '--evaluate']
    status, said, errors = run(monkeypatch, capfd, 'export', *args)
    assert status == 0, errors
    pytorch, file = scores(said)
    assert abs(pytorch - file) < 3
    session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
    assert 'mmkd' in session.get_modelmeta().custom_metadata_map
    types = {t.type for t in session.get_inputs()}
    assert types == {'tensor(uint8)'}
    graph = onnx.load(out).graph
    exact, small = (
        sum(np.prod(w.dims) for w in graph.initializer if w.data_type == kind)
        for kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT8)
    )
    assert small > exact  # weights; biases and scales stay exact


def test_export_torchscript_scores_as_pytorch(segmentor, monkeypatch, capfd, tmp_path):
    out = tmp_path / 'student.pt'
    args = [*segmentor, '--out', out, '--format', 'torchscript', '--evaluate']
    status, said, errors = run(monkeypatch, capfd, 'export', *args)
    assert status == 0, errors
    pytorch, file = scores(said)
    assert abs(pytorch - file) <= 0.01


@pytest.mark.parametrize('options', [[], pytest.param(['--dynamic'], marks=pytest.mark.slow)])
@pytest.mark.parametrize('format', ['onnx', 'torchscript'])
def test_export_vmamba_scores_as_pytorch(format, options, folder, monkeypatch, capfd):
    vmamba = save(folder, 'vmamba', VMAMBA, 'mmseg')
    args = [*vmamba, '--format', format, *options, '--evaluate']
    status, said, errors = run(monkeypatch, capfd, 'export', *args)
    assert status == 0, errors
    pytorch, file = scores(said)
    assert pytorch > 0 and abs(pytorch - file) <= 0.01
    assert ('logits of 2 x 80 x 128: at most ' in said) == ('--dynamic' in options)


@pytest.mark.parametrize('network', ['FastSCNN', 'UNet'])
def test_export_torchscript_of_any_size_is_checked(
    network, segmentor, folder, monkeypatch, capfd, tmp_path
):
    out = tmp_path / 'student.pt'
    if network == 'FastSCNN':
        text = f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'"
        segmentor = save(folder, 'fast_scnn', text, 'mmseg')
    args = ['--out', out, '--format', 'torchscript', '--dynamic', '--size', 64, 96]
    status, _, errors = run(monkeypatch, capfd, 'export', *segmentor, *args)
    if network == 'FastSCNN':
        assert status == 0, errors
        assert torch.jit.load(out)(torch.zeros(2, 3, 65, 99)).shape == (2, 11, 65, 99)
    else:  # its upsampling computes with sizes as Python's numbers
        assert status == 2 and 'use --format onnx or leave out --dynamic' in errors
        assert not out.exists()


@pytest.mark.parametrize('text, padding', [(DETECTOR, MEAN), (YOLO, 114)], ids=['retina', 'yolo'])
def test_export_detector_boxes_equal_network(text, padding, folder, monkeypatch, capfd, tmp_path):
    config, checkpoint = save(folder, 'detector', text, 'mmdet')
    out = folder / 'detector.onnx'
    args = [config, checkpoint, '--size', 96, 128, '--preprocess', '--out', out]
    assert run(monkeypatch, capfd, 'export', *args)[0] == 0
    infer = runpy.run_path(str(ROOT / 'tools/deploy/infer.py'))
    image = cv2.imread(str(folder / 'images/0.png'))
    image = np.vstack([image, image])  # higher than the network's size: scaled by a half
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(load_config(str(config)).model).eval()
    detector.load_state_dict(torch.load(checkpoint)['state_dict'])
    rules = detector.bbox_head.test_cfg
    stated = rules.nms.iou_threshold, rules.max_per_img
    result = infer['Model'](str(out))([image])[0]
    best = np.sort(result['scores'], None)
    score = float(best[-41:-39].mean())  # of which forty are above
    # The exported file has no limit on candidates.
    nms = dict(type='nms', iou_threshold=0.4)
    detector.bbox_head.test_cfg.update(
        score_thr=score, nms_pre=100000, max_per_img=100000, nms=nms, min_bbox_size=0
    )
    small = np.zeros((96, 128, 3), np.uint8) + np.round([padding]).astype(np.uint8)[..., ::-1]
    small[:, :64] = cv2.resize(image, (64, 96), interpolation=cv2.INTER_LINEAR)
    shape = dict(img_shape=(96, 64), ori_shape=(96, 64), scale_factor=(1.0, 1.0))
    batch = dict(
        inputs=[torch.from_numpy(small.transpose(2, 0, 1))],
        data_samples=[DetDataSample(metainfo=shape)],
    )
    with torch.no_grad():
        own = detector.test_step(batch)[0].pred_instances
    found = infer['boxes_of'](result, image.shape[:2], score, 0.4)
    assert (result['nms_iou'], result['max_boxes']) == stated
    assert len(found) > 3
    limit = torch.tensor([128.0, 192] * 2)
    for box, said, label in found:
        same = (own.labels == label) & ((own.scores - said).abs() < 1e-4)
        distance = (own.bboxes[same] * 2).minimum(limit) - torch.from_numpy(box)
        assert distance.abs().amax(1).min() < 1e-2
    assert len(found) == len(own)
    picture = tmp_path / 'boxes'
    args = [out, folder / 'images/0.png', '--score', score / 2, '--iou', 0.4, '--out', picture]
    assert run(monkeypatch, capfd, 'infer', *args)[0] == 0
    assert (cv2.imread(str(picture / '0.png')) != cv2.imread(str(folder / 'images/0.png'))).any()


@pytest.mark.parametrize(
    'facts, iou, kept',
    [
        (dict(nms_iou=0.5, max_boxes=None), None, [0.9, 0.7]),
        (dict(nms_iou=0.7, max_boxes=None), None, [0.9, 0.8, 0.7]),
        (dict(nms_iou=0.7, max_boxes=2), None, [0.9, 0.8]),
        (dict(nms_iou=0.7, max_boxes=None), 0.5, [0.9, 0.7]),
    ],
)
def test_infer_keeps_the_boxes_that_the_file_says(facts, iou, kept):
    """The first two boxes of class 0 have an IoU of 0.6; the third is of class 1."""
    infer = runpy.run_path(str(ROOT / 'tools/deploy/infer.py'))
    boxes = np.float32([[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 10]])
    scores = np.float32([[0.9, 0], [0.8, 0], [0, 0.7]])
    result = dict(boxes=boxes, scores=scores, scale=(1.0, 1.0), **facts)
    found = infer['boxes_of'](result, (20, 20), 0.1, iou)
    assert [score for _, score, _ in found] == pytest.approx(kept)


def test_export_detector_uses_padded_size(folder, monkeypatch, capfd, tmp_path):
    pipeline = [dict(type='mmkd.RenderStreet'), dict(type='PackDetInputs', meta_keys=())]
    data = dict(type='mmkd.StreetScenesDet', length=1, size=(60, 97), pipeline=pipeline)
    text = f'{YOLO}test_dataloader = dict(dataset={data})'
    detector = save(folder, 'padded', text, 'mmdet')
    args = [*detector, '--out', tmp_path / 'detector.onnx']
    status, said, errors = run(monkeypatch, capfd, 'export', *args)
    assert status == 0, errors
    assert 'for 64 x 128 pixels' in said
    status, _, errors = run(monkeypatch, capfd, 'export', *args, '--size', 60, 97)
    message = (
        "--size 60 97: expected multiples of 32, the size_divisor of the network's "
        'data_preprocessor'
    )
    assert status == 2 and errors.strip().endswith(f'error: {message}')


@pytest.mark.parametrize(
    'args, message',
    [
        (
            ['--dynamic', '--format', 'safetensors'],
            '--dynamic: expected --format onnx or torchscript',
        ),
        (['--int8', '--format', 'torchscript'], '--int8: expected --format onnx'),
        (['--out', 'a.pt'], '--out a.pt: expected *.onnx with --format onnx'),
        (['--size', 0, 64], '--size 0 64: expected two integers >= 1'),
        (['--int8', '--calibration', 0], '--calibration 0: expected an integer >= 1'),
    ],
)
def test_export_conflicting_options_raise_user_error(segmentor, monkeypatch, capfd, args, message):
    status, _, errors = run(monkeypatch, capfd, 'export', *segmentor, *args)
    assert status == 2 and errors.strip() == f'error: {message}'


@pytest.mark.parametrize('name, options', [('student', []), ('last', ['--out', 'a/../last.pt'])])
def test_export_does_not_replace_the_checkpoint(
    segmentor, monkeypatch, capfd, tmp_path, name, options
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a').mkdir()
    checkpoint = shutil.copy(segmentor[1], f'{name}.pt')
    before = Path(checkpoint).read_bytes()
    args = [segmentor[0], checkpoint, '--format', 'torchscript', '--size', 32, 32, *options]
    status, _, errors = run(monkeypatch, capfd, 'export', *args)
    assert status == 2 and 'expected another file than the checkpoint' in errors
    assert Path(checkpoint).read_bytes() == before


def test_export_config_without_data_needs_a_size_alone(segmentor, monkeypatch, capfd, tmp_path):
    config = tmp_path / 'bare.py'
    parts = [f'{part}_{key} = None' for part in ('train', 'test') for key in ('dataloader', 'cfg')]
    config.write_text('\n'.join([f"_base_ = '{segmentor[0]}'", *parts, 'test_evaluator = None']))
    args = [config, segmentor[1], '--out', tmp_path / 'bare.onnx']
    for options, message in {
        (): 'expected a test_dataloader; give --size H W',
        ('--size', 32, 32, '--evaluate'): 'expected a test_dataloader; leave out --evaluate and',
        ('--size', 32, 32, '--int8'): '--int8: expected a train_dataloader',
    }.items():
        status, _, errors = run(monkeypatch, capfd, 'export', *args, *options)
        assert status == 2 and message in errors
    status, said, errors = run(monkeypatch, capfd, 'export', *args, '--size', 32, 32)
    assert status == 0 and 'for 32 x 32 pixels' in said, errors


def test_export_safetensors_loads_as_a_checkpoint(segmentor, monkeypatch, capfd, tmp_path):
    out = tmp_path / 'student.safetensors'
    args = [*segmentor, '--format', 'safetensors', '--out', out]
    for name in [name for name in sys.modules if name.startswith(('mmkd.deploy', 'mmkd.cli.exp'))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'onnx', None)  # as where the extra is not installed
    status, said, errors = run(monkeypatch, capfd, 'export', *args)
    assert status == 0, errors
    assert said.startswith(f'{out}: ')
    own = torch.load(segmentor[1], weights_only=True)['state_dict']
    network = init_model(str(segmentor[0]), str(out), device='cpu')
    assert network.state_dict().keys() == own.keys()
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


def test_export_config_without_model_raises_user_error(monkeypatch, capfd):
    config = 'configs/_base_/default_runtime.py'
    status, _, errors = run(monkeypatch, capfd, 'export', config, 'best.pth')
    assert status == 2 and f'error: config {config}: expected a model' in errors


@pytest.mark.parametrize('option', ['--evaluate', '--int8'])
def test_export_data_of_another_size_leaves_earlier_file(
    segmentor, monkeypatch, capfd, tmp_path, option
):
    out = tmp_path / 'student.onnx'
    out.write_text('earlier')
    args = [*segmentor, '--out', out, '--size', 64, 96, option]
    status, _, errors = run(monkeypatch, capfd, 'export', *args)
    assert status == 2
    assert 'error: an image is 48 x 64: expected 64 x 96, the size of the file; ' in errors
    assert out.read_text() == 'earlier'


def test_export_network_that_yields_nan_is_rejected(segmentor, monkeypatch, capfd, tmp_path):
    state = torch.load(segmentor[1], weights_only=True)
    state['state_dict']['decode_head.conv_seg.weight'].fill_(3e38)  # finite; sums of it are not
    torch.save(state, tmp_path / 'best.pth')
    args = [segmentor[0], tmp_path / 'best.pth']
    status, _, errors = run(monkeypatch, capfd, 'export', *args)
    assert status == 2 and 'the file differs from PyTorch by nan' in errors
    assert not (tmp_path / 'student.onnx').exists()


@pytest.mark.parametrize('name', ['images', 'images/0.png', 'drive.mp4'])
def test_infer_output_over_input_is_rejected(exported, folder, monkeypatch, capfd, tmp_path, name):
    shutil.copytree(folder / 'images', tmp_path / 'images')
    shutil.copy(folder / 'drive.avi', tmp_path / 'drive.mp4')
    path = tmp_path / name
    before = {p: p.read_bytes() for p in tmp_path.rglob('*.*')}
    args = [path, '--out', path if path.is_dir() else path.parent]
    status, _, errors = run(monkeypatch, capfd, 'infer', exported[0], *args)
    assert status == 2 and 'would be written over the input; give another --out' in errors
    assert {p: p.read_bytes() for p in tmp_path.rglob('*.*')} == before


def test_infer_two_images_of_one_name_are_rejected(exported, folder, monkeypatch, capfd, tmp_path):
    for suffix in ('bmp', 'png'):
        image = cv2.imread(str(folder / 'images/0.png'))
        cv2.imwrite(str(tmp_path / f'0.{suffix}'), image)
    args = [tmp_path, '--out', tmp_path / 'out']
    status, _, errors = run(monkeypatch, capfd, 'infer', exported[0], *args)
    assert status == 2 and '0.bmp and ' in errors and '0.png would both become' in errors
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'args, message',
    [
        (['{folder}/none'], 'expected an image, a video or a folder of images'),
        (['{folder}/images/notes.txt'], 'cannot be read as an image'),
        (['{folder}/images', '--batch', '0'], '--batch 0: expected an integer >= 1'),
    ],
)
def test_infer_bad_inputs_raise_user_error(
    exported, folder, monkeypatch, capfd, tmp_path, args, message
):
    args = [arg.format(folder=folder) for arg in args] + ['--out', tmp_path]
    status, _, errors = run(monkeypatch, capfd, 'infer', exported[0], *args)
    assert status == 2 and errors.startswith('error: ') and message in errors


@pytest.mark.parametrize(
    'option, value', [('score', 30), ('score', 'nan'), ('iou', -1), ('iou', 50)]
)
def test_infer_threshold_outside_of_0_to_1_is_an_error(monkeypatch, capfd, option, value):
    args = ['none.onnx', 'none.png', f'--{option}={value}']
    status, _, errors = run(monkeypatch, capfd, 'infer', *args)
    assert status == 2
    assert errors == f'error: --{option} {value}: expected a number from 0 to 1\n'


def test_infer_missing_file_raises_user_error(folder, monkeypatch, capfd):
    status, _, errors = run(monkeypatch, capfd, 'infer', 'none.onnx', folder / 'images')
    assert status == 2 and errors.startswith('error: none.onnx does not exist: expected')


def test_infer_file_without_network_raises_user_error(folder, monkeypatch, capfd):
    args = [folder / 'images/notes.txt', folder / 'images']
    status, _, errors = run(monkeypatch, capfd, 'infer', *args)
    assert status == 2 and 'notes.txt cannot be loaded' in errors
