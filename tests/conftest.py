"""Small but real networks and configs: a SegFormer or RetinaNet teacher, a smaller student."""

import copy
import json
import os
import runpy
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

# Triton decides when it is imported, as mmkd imports it, whether its kernels run without a GPU.
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'

# Before onnxruntime is imported: it reports usage and keeps a database in the home folder.
os.environ['ORT_DISABLE_TELEMETRY'] = '1'

from hypothesis import settings
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.overrides import TorchFunctionMode

import mmkd  # noqa: F401  (registers)
from mmkd.config import load_config
from mmkd.config import model_config as network_config
from mmkd.experiments.run import Run
from mmkd.registry import MODELS

# However busy the machine is, no test may fail for its time.
settings.register_profile('untimed', deadline=None)
settings.load_profile('untimed')
settings.register_profile('torture', max_examples=25_000, deadline=None)

ROOT = Path(__file__).resolve().parent.parent

# A flagship recipe of a few iterations; what a test needs beyond it, it merges.
RECIPE = """
_base_ = '{root}/configs/segformer_fastscnn_freq.py'
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
test_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=3), logger=dict(interval=1))
model = dict(teacher=dict(config='{teacher}', checkpoint='{checkpoint}'))
"""

TEACHER = """
_base_ = '{root}/configs/teachers/segformer_b0_streets.py'
model = dict(
    backbone=dict(embed_dims=8), decode_head=dict(in_channels=[8, 16, 40, 64], channels=32))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1))
"""

# A RetinaNet of one sixteenth of the width, and the recipe that distils it.
DETECTOR = """
_base_ = '{root}/configs/{kind}/retinanet_{model}_streets.py'
model = dict(
    backbone=dict(base_channels={base}),
    neck=dict(
        in_channels=[{base}, 2 * {base}, 4 * {base}, 8 * {base}], out_channels={base},
        norm_cfg=dict(num_groups=2)),
    bbox_head=dict(
        in_channels={base}, feat_channels={base}, stacked_convs=1, norm_cfg=dict(num_groups=2)),
    test_cfg=dict(score_thr=0.0, max_per_img=20))
load = [dict(type='mmkd.RenderStreet'), dict(type='LoadAnnotations', with_bbox=True)]
resize = dict(type='Resize', scale=(96, 64))
pack = dict(type='PackDetInputs', meta_keys=_base_.meta_keys)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(length=40, size=(64, 96), pipeline=[
        dict(type='mmkd.SeedTransforms'), *load, resize,
        dict(type='RandomFlip', prob=0.5), pack]))
val_dataloader = dict(
    batch_size=2, num_workers=0,
    dataset=dict(length=4, size=(64, 96), pipeline=[*load, resize, pack]))
test_dataloader = val_dataloader
# At so small an overlap random weights score above 0.
val_evaluator = [_base_.val_evaluator, dict(type='VOCMetric', iou_thrs=[0.1], eval_mode='area')]
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=3), logger=dict(interval=1))
"""

DETECTION_RECIPE = """
_base_ = '{student}'
model = dict(
    _delete_=True,
    type='mmkd.Distiller',
    student=_base_.model,
    teacher=dict(config='{teacher}', checkpoint='{checkpoint}'),
    distill=dict(
        level=dict(
            student='neck[0]', teacher='neck[0]', loss=dict(type='FeatureMSELoss'),
            adapter=dict(type='Conv2d', kernel_size=3, padding=1)),
        scores=dict(
            student='bbox_head[0][1]', teacher='bbox_head[0][1]',
            loss=dict(type='FeatureMSELoss'))))
"""


class LargestTensor(TorchFunctionMode):
    """How many elements of four bytes the largest tensor takes that is made within."""

    elements = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if isinstance(output, torch.Tensor):
            self.elements = max(self.elements, output.untyped_storage().nbytes() // 4)
        return output


@pytest.fixture
def largest_tensor() -> LargestTensor:
    return LargestTensor()


@pytest.fixture(autouse=True)
def _mmseg_scope(monkeypatch):
    init_default_scope('mmseg')
    run_path = runpy.run_path

    def run_in_no_scope(path: str, *, run_name: str | None = None) -> dict:
        """Run a tool as a new process would, where no test has set the scope."""
        if run_name != '__main__':
            return run_path(path)
        scopes = DefaultScope._instance_dict
        DefaultScope._instance_dict = type(scopes)()
        try:
            return run_path(path, run_name=run_name)
        finally:
            DefaultScope._instance_dict = scopes

    monkeypatch.setattr(runpy, 'run_path', run_in_no_scope)


@pytest.fixture(autouse=True)
def _default_sigterm():
    """Check that SIGTERM still ends a process at once.

    multiprocessing ends the workers of a pool with it, such as those of MMDetection's VOCMetric,
    and waits for them. A worker that has just started loses a signal that Python handles.
    """
    yield
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.fixture
def logged(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """What MMEngine's current logger says; its records do not reach pytest's own handler."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('INFO')
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder with real data and reference outputs."""
    folder = Path(os.environ.get('MMKD_SHARED', ROOT.parent / 'shared'))
    if not folder.is_dir():
        pytest.skip('needs the shared data: ../shared or $MMKD_SHARED')
    return folder


@pytest.fixture(scope='session')
def teacher_files(tmp_path_factory) -> tuple[str, str]:
    """Config and checkpoint of a small SegFormer with random weights."""
    init_default_scope('mmseg')
    folder = tmp_path_factory.mktemp('teacher')
    config = folder / 'teacher.py'
    config.write_text(TEACHER.format(root=ROOT))
    torch.manual_seed(7)
    network = MODELS.build(Config.fromfile(config).model)
    network.init_weights()
    checkpoint = folder / 'best.pth'
    torch.save({'state_dict': network.state_dict(), 'meta': {}}, checkpoint)
    return str(config), str(checkpoint)


@pytest.fixture(scope='session')
def random_checkpoints(tmp_path_factory):
    """For a teacher's config: a checkpoint with random weights, made once."""
    folder = tmp_path_factory.mktemp('random')

    def make(config: str) -> str:
        path = folder / f'{Path(config).stem}.pth'
        if not path.is_file():
            cfg = load_config(config)
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                torch.save(MODELS.build(network_config(cfg)).state_dict(), path)
        return str(path)

    return make


@pytest.fixture(scope='session')
def detection_files(tmp_path_factory) -> dict[str, str]:
    """A small RetinaNet teacher (config, checkpoint with random weights), a student, a recipe."""
    folder = tmp_path_factory.mktemp('detection')
    files = {name: str(folder / f'{name}.py') for name in ('teacher', 'student', 'recipe')}
    files['checkpoint'] = str(folder / 'best.pth')
    Path(files['teacher']).write_text(
        DETECTOR.format(root=ROOT, kind='teachers', model='r18', base=8)
    )
    Path(files['student']).write_text(
        DETECTOR.format(root=ROOT, kind='students', model='r18half', base=4)
    )
    Path(files['recipe']).write_text(DETECTION_RECIPE.format(**files))
    torch.manual_seed(7)
    with DefaultScope.overwrite_default_scope('mmdet'):
        network = MODELS.build(Config.fromfile(files['teacher']).model)
    network.init_weights()
    torch.save({'state_dict': network.state_dict(), 'meta': {}}, files['checkpoint'])
    return files


@pytest.fixture(scope='session')
def write_recipe(teacher_files):
    """Writes a distillation config that trains for four iterations into a folder."""

    def write(folder: Path) -> Path:
        config, checkpoint = teacher_files
        path = folder / 'recipe.py'
        path.write_text(RECIPE.format(root=ROOT, teacher=config, checkpoint=checkpoint))
        return path

    return write


@pytest.fixture
def recipe_file(tmp_path, write_recipe) -> Path:
    return write_recipe(tmp_path)


@pytest.fixture
def recipe(recipe_file, tmp_path) -> Config:
    config = Config.fromfile(recipe_file)
    config.work_dir = str(tmp_path / 'work')
    return config


@pytest.fixture
def model_config(recipe) -> ConfigDict:
    """The recipe's ``model``, to build or to break."""
    return copy.deepcopy(recipe.model)


@pytest.fixture
def distiller(model_config):
    torch.manual_seed(0)
    return MODELS.build(model_config)


@pytest.fixture
def batch() -> tuple[torch.Tensor, list[SegDataSample]]:
    """Two images of noise with random labels."""
    g = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 64, 96, generator=g)
    labels = torch.randint(0, 11, (2, 1, 64, 96), generator=g)
    return images, [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]


@pytest.fixture
def finished_run(tmp_path) -> Callable[..., Run]:
    """Makes the folder of a run that has ended, with scores at its validations."""

    def make(
        name: str,
        seed: int,
        *scores: float,
        distilled: bool = True,
        comparable: str = 's',
        step_seconds: float = 0.5,
        **setup: str,
    ) -> Run:
        teacher = ('teacher.py', 'best.pth') if distilled else None
        run = Run(
            folder=tmp_path / name / f'seed_{seed}', config=f'configs/{name}.py', seed=seed,
            options=(), fingerprint=name, comparable=comparable, teacher=teacher,
            metric='mIoU', length=10 * len(scores), by_epoch=False, commit='abc', setup=setup,
        )  # fmt: skip
        run.note()
        lines = []
        for i, score in enumerate(scores, 1):
            train = dict(lr=0.1, loss=3.0, time=step_seconds, iter=10 * i, step=10 * i)
            if distilled:
                train |= {'distill.encoder': 1.0, 'weight.encoder': 0.5}
            lines += [train, dict(mIoU=score, step=10 * i)]
        log = run.folder / '20260101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('\n'.join(map(json.dumps, lines)))
        return run

    return make


@pytest.fixture
def unfinished(finished_run) -> Callable[..., Run]:
    def make(name: str, seed: int) -> Run:
        run = finished_run(name, seed, 1.0, 2.0)
        Path(run.folder, 'training_unfinished').touch()
        return run

    return make
