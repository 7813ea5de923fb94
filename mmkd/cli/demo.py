"""Train a teacher, a baseline and a distilled student on StreetScenes, and compare them.

The three trainings run by tools/train.py, and take minutes each on a CPU. Finished runs are not
repeated. The result is a table and a picture of one street as all three see it.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmkd.analysis.complexity import parameter_count
from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.cli.arguments import positive
from mmkd.config.load import ROOT, load_config
from mmkd.config.student import student_config
from mmkd.datasets import StreetScenes, render_street
from mmkd.errors import UserError
from mmkd.visualization.panel import colour_labels, panel

RUNS = {
    'teacher EfficientNet-Lite2': 'configs/teachers/efficientnet_lite2_streets.py',
    'VMamba-nano baseline': 'configs/students/vmamba_nano_streets.py',
    'VMamba-nano distilled': 'configs/efficientnet_vmamba_pkd.py',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('--iters', type=positive, help='iterations of each training')
    parser.add_argument('--out', default='work_dirs/demo', help='folder to write to')
    parser.add_argument(
        '--quick',
        nargs='?',
        metavar='IMAGE',
        help='train nothing; segment IMAGE, or a rendered street, with an included student',
    )
    parser.add_argument(
        '--street', type=int, default=6, help='index of the validation street to show'
    )
    args = parser.parse_args()
    streets = load_config(RUNS['VMamba-nano distilled']).test_dataloader.dataset.length
    if not 0 <= args.street < streets:
        parser.error(f'--street {args.street}: expected 0 to {streets - 1}')
    return args


def train(config: str, iters: int | None) -> Path:
    """Train ``config`` with the training tool and return the best checkpoint."""
    work_dir = Path('work_dirs') / Path(config).stem
    command = [sys.executable, str(ROOT / 'tools/train.py'), config, '--resume']
    if iters is not None:
        command += ['--cfg-options', f'train_cfg.max_iters={iters}', 'train_cfg.val_interval=50']
    if subprocess.run(command).returncode != 0:
        raise UserError(f'training {config} failed; see {work_dir}')
    return work_dir / 'best.pth'


def evaluate(config: Config, checkpoint: Path, street: int) -> tuple[list[str], np.ndarray]:
    """Return a network's table cells (mIoU, parameters, ms) and its prediction for one street."""
    config.work_dir = str(checkpoint.parent / 'test')
    config.load_from = str(checkpoint)
    config.log_level = 'WARNING'
    runner = Runner.from_cfg(config)
    metrics = runner.test()
    model = runner.model.eval()
    dataset = runner.test_dataloader.dataset
    sample = dataset[street]
    batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
    times = []
    with torch.no_grad():
        for _ in range(15):
            start = time.perf_counter()
            prediction = model.test_step(batch)[0].pred_sem_seg.data[0].cpu().numpy()
            times.append(time.perf_counter() - start)
    parameters = parameter_count(model) / 1e6
    cells = [f'{metrics["mIoU"]:.1f}', f'{parameters:.2f} M', f'{np.median(times) * 1e3:.0f}']
    return cells, prediction


def main() -> None:
    args = parse_args()
    checkpoints = {name: train(config, args.iters) for name, config in RUNS.items()}
    rows, predictions = [], {}
    for name, config in RUNS.items():
        cells, predictions[name] = evaluate(
            student_config(load_config(config)), checkpoints[name], args.street
        )
        rows.append([name, *cells])
    header = ['network', 'mIoU', 'parameters', 'ms per image']
    table = '\n'.join('| ' + ' | '.join(row) + ' |' for row in [header, ['---'] * 4, *rows])

    scene = render_street(args.street, 'val', size=(192, 256))
    palette = StreetScenes.METAINFO['palette']
    pictures = {'street': scene.image, 'ground truth': colour_labels(scene.label, palette)}
    pictures |= {name: colour_labels(p, palette) for name, p in predictions.items()}
    encoded = cv2.imencode('.png', panel(pictures))[1].tobytes()
    out = Path(args.out)
    write_atomically(out / 'streets.png', encoded)
    write_atomically(out / 'table.md', (table + '\n').encode())
    print(f'\n{table}\n\nThe same street seen by all three: {out / "streets.png"}')
