"""Students of real runs, two iterations long, predicting from Python."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmseg.apis import inference_model, init_model

import mmkd
from mmkd.config.load import load_config
from mmkd.config.student import student_config
from mmkd.datasets import render_street
from mmkd.errors import UserError
from mmkd.registry import MODELS


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    return render_street(0, 'val', (64, 96)).image


def train(config: str, work_dir: Path) -> Runner:
    config = Config.fromfile(config)
    config.work_dir = str(work_dir)
    config.train_cfg.max_iters = 2
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory, write_recipe) -> Path:
    init_default_scope('mmseg')
    folder = tmp_path_factory.mktemp('run')
    train(str(write_recipe(folder)), folder / 'work')
    return folder / 'work'


def test_load_student_segmentor_predicts_as_mmseg(work_dir, image):
    student = mmkd.load_student(work_dir, device='cpu')
    model = init_model(str(work_dir / 'student.py'), str(work_dir / 'best.pth'), device='cpu')
    own = inference_model(model, image).pred_sem_seg.data[0].numpy()
    assert own.shape == (64, 96)
    assert np.array_equal(student(image)['predictions'], own)
    assert student.model.dataset_meta['classes'][0] == 'Sky'


def test_load_student_predicts_image_without_label(tmp_path, image):
    config = student_config(load_config('configs/segformer_fastscnn_freq_camvid.py'))
    config.dump(tmp_path / 'student.py')
    weights = MODELS.build(config.model).state_dict()
    torch.save(dict(state_dict=weights, meta={}), tmp_path / 'best.pth')
    assert mmkd.load_student(tmp_path, device='cpu')(image)['predictions'].shape == (64, 96)


def test_load_student_of_a_dumped_pure_python_pipeline_predicts(work_dir, tmp_path, image):
    expected = mmkd.load_student(work_dir, device='cpu')(image)['predictions']
    config = Config.fromfile(work_dir / 'student.py')
    step = config.test_dataloader.dataset.pipeline[0]
    assert step.pop('type') == 'mmkd.RenderStreet'
    config.test_dataloader.dataset.pipeline[0] = dict(type='mmcv.transforms.LoadImageFromFile')
    config.dump(tmp_path / 'student.py')
    shutil.copy(work_dir / 'best.pth', tmp_path)
    found = mmkd.load_student(tmp_path, device='cpu')(image)['predictions']
    assert np.array_equal(found, expected)


def test_load_student_without_test_data_loads_images_as_in_validation(work_dir, tmp_path, image):
    expected = mmkd.load_student(work_dir, device='cpu')(image)['predictions']
    config = Config.fromfile(work_dir / 'student.py')
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    config.dump(tmp_path / 'student.py')
    shutil.copy(work_dir / 'best.pth', tmp_path)
    assert np.array_equal(mmkd.load_student(tmp_path, device='cpu')(image)['predictions'], expected)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.dump(tmp_path / 'student.py')
    with pytest.raises(UserError, match='test_dataloader=None: expected a pipeline of images; set'):
        mmkd.load_student(tmp_path, device='cpu')


@pytest.mark.parametrize(
    'wrap',
    [
        lambda data: dict(type='RepeatDataset', times=2, dataset=data),
        lambda data: dict(type='ConcatDataset', datasets=[data, data]),
    ],
)
def test_load_student_of_a_wrapped_dataset_predicts(work_dir, tmp_path, image, wrap):
    config = Config.fromfile(work_dir / 'student.py')
    config.test_dataloader.dataset = wrap(config.test_dataloader.dataset)
    config.dump(tmp_path / 'student.py')
    shutil.copy(work_dir / 'best.pth', tmp_path)
    expected = mmkd.load_student(work_dir, device='cpu')(image)['predictions']
    found = mmkd.load_student(tmp_path, device='cpu')(image)['predictions']
    assert np.array_equal(found, expected)


def test_load_student_detector_predicts_as_its_run(detection_files, tmp_path, image):
    init_default_scope('mmdet')
    runner = train(detection_files['recipe'], tmp_path)
    detector = runner.model.student.eval()
    shape = dict(img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1.0, 1.0))
    batch = dict(
        inputs=[torch.from_numpy(image.transpose(2, 0, 1).copy())],
        data_samples=[DetDataSample(metainfo=shape)],
    )
    with torch.no_grad():
        own = detector.test_step(batch)[0].pred_instances
    (found,) = mmkd.load_student(tmp_path, device='cpu')(image)['predictions']
    assert len(own) == 20
    np.testing.assert_allclose(found['bboxes'], own.bboxes.numpy(), rtol=1e-5, atol=1e-4)
    assert found['labels'] == own.labels.tolist()


def test_load_student_missing_file_raises_user_error(work_dir, tmp_path):
    with pytest.raises(UserError, match='holds none as configs: expected the work dir of one run'):
        mmkd.load_student(tmp_path)
    shutil.copy(work_dir / 'student.py', tmp_path)
    with pytest.raises(UserError, match='best.pth does not exist'):
        mmkd.load_student(tmp_path)
    with pytest.raises(UserError, match='student.py is a file: .*give its folder, '):
        mmkd.load_student(tmp_path / 'student.py')
    with pytest.raises(UserError, match='no_run does not exist: expected the work dir of a run'):
        mmkd.load_student(tmp_path / 'no_run')
    (tmp_path / 'a.py').write_text('')
    (tmp_path / 'b.py').write_text('')
    with pytest.raises(UserError, match='holds a.py, b.py as configs'):
        mmkd.load_student(tmp_path)


def test_load_student_weights_of_another_network_are_rejected(work_dir, tmp_path):
    shutil.copy(work_dir / 'student.py', tmp_path)
    torch.save(dict(state_dict=dict(weight=torch.ones(1)), meta={}), tmp_path / 'best.pth')
    with pytest.raises(UserError, match='best.pth does not fit its config: .* are missing'):
        mmkd.load_student(tmp_path, device='cpu')


@pytest.mark.parametrize('device', ['gpu', 'cuda:99', 'cpu:x'])
def test_load_student_on_missing_device_raises_user_error(device, tmp_path):
    with pytest.raises(UserError, match=f"device='{device}': expected cpu, or a GPU"):
        mmkd.load_student(tmp_path, device=device)
