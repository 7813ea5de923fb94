"""What the lean step saves: tables of time and memory, each beside the plain way in one run.

    loss     the segmentation loss by rows against the loss of full-size logits
    step     mmkd's training steps against MMSegmentation's own step of the same student
    memory   the peak memory of a distilled step against that of MMSegmentation's step
    taps     what recording the taps of both networks costs
    teacher  the teacher's pass: plain, then each change that makes it faster
    compile  the teacher's pass and the student's step: lean, and the same by torch.compile

Weights are random; the data are noise. Times are medians of calls that take turns. With one thread
they are the processor's time, into which waiting for other work does not count.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.nn import functional

from mmkd.analysis.memory import peak_bytes
from mmkd.analysis.timing import median_ms
from mmkd.analysis.training_step import build_distiller, full_weight_terms, noise_labels
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config, load_distillation
from mmkd.config.student import model_config
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.recording import record
from mmkd.distillation.sample_batch import lend_batch
from mmkd.distillation.teacher_views import TeacherViews, ViewsWriter, hash_pixels
from mmkd.distillation.term import build_term
from mmkd.errors import UserError
from mmkd.openmmlab.lean import make_lean, use_channels_last
from mmkd.openmmlab.lean_batch_norm import fold_batch_norms
from mmkd.openmmlab.lean_heads import report_accuracy, use_lean_heads
from mmkd.ops.upsampled_cross_entropy import upsampled_cross_entropy
from mmkd.registry import MODELS

# (B, C, h, w) of the logits, and (H, W) of the labels.
LOSSES = [
    ((2, 19, 64, 128), (512, 1024)),
    ((2, 150, 128, 128), (512, 512)),
    ((8, 11, 23, 30), (180, 240)),
    ((8, 11, 24, 32), (192, 256)),
    ((2, 11, 48, 64), (192, 256)),
    ((2, 19, 256, 256), (256, 256)),
    ((2, 11, 16, 16), (64, 64)),
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('table', choices=['loss', 'step', 'memory', 'taps', 'teacher', 'compile'])
    parser.add_argument('--config', default='configs/segformer_fastscnn_freq.py')
    parser.add_argument('--size', type=positive, nargs=2, default=[192, 256], metavar=('H', 'W'))
    parser.add_argument('--batch', type=positive, default=8)
    parser.add_argument('--repeats', type=positive, default=7, help='timed calls of each kind')
    parser.add_argument('--threads', type=positive, help="PyTorch's CPU threads")
    parser.add_argument('--amp', action='store_true', help='mixed precision in steps; needs a GPU')
    return parser.parse_args()


def load_scoped(path: str) -> Config:
    """Load a distillation's config and make its library the default one."""
    config = load_distillation(path)
    init_default_scope(config.default_scope)
    return config


def build_teacher(config: Config) -> nn.Module:
    """Return the teacher of a distillation's config, frozen, with random weights."""
    network = MODELS.build(model_config(load_config(config.model.teacher.config)))
    network.requires_grad_(False).eval()
    return network.to(get_device())


def plain_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the loss as MMSegmentation's heads compute it, with ``avg_non_ignore=True``."""
    logits = functional.interpolate(logits, labels.shape[1:], mode='bilinear')
    losses = functional.cross_entropy(logits, labels, reduction='none', ignore_index=255)
    return losses.sum() / ((labels != 255).sum() + torch.finfo(torch.float32).eps)


def print_losses(args: argparse.Namespace) -> None:
    print('| logits | labels | plain, ms | by rows, ms | time | memory |\n' + '| --- ' * 6 + '|')
    for shape, size in LOSSES:
        logits = torch.randn(shape, device=get_device(), requires_grad=True)
        labels = torch.randint(shape[1], (shape[0], *size), device=get_device())
        labels[torch.rand(labels.shape, device=get_device()) < 0.05] = 255

        def step(loss: Callable, logits: Tensor = logits, labels: Tensor = labels) -> None:
            logits.grad = None
            loss(logits, labels).backward()

        calls = dict(
            plain=lambda: step(plain_cross_entropy), rows=lambda: step(upsampled_cross_entropy)
        )
        times = median_ms(calls, args.repeats)
        memory = {name: peak_bytes(call) for name, call in calls.items()}
        print(
            f'| {shape} | {size} | {times["plain"]:.1f} | {times["rows"]:.1f} '
            f'| {times["rows"] / times["plain"]:.2f} | {memory["rows"] / memory["plain"]:.2f} |',
            flush=True,
        )


def keep_views(distiller: Distiller, data: dict, folder: Path) -> None:
    """Run the teacher once on a batch, and let the terms read from the disk what it gives."""
    batch = distiller.data_preprocessor(data, True)
    recording = distiller.run_teacher(**batch)
    targets, sizes = distiller.view_targets(**batch)
    found = {target.name: target.of(recording) for target in targets}
    pixels = [hash_pixels(image) for image in data['inputs']]
    writer = ViewsWriter(folder, {}, pixels, None, sizes, found)
    writer.add(found)
    writer.finish()
    distiller.teacher_views = TeacherViews(folder)


def make_steps(args: argparse.Namespace, folder: Path) -> dict[str, Callable[[], None]]:
    """Return the training steps to compare, MMSegmentation's own first.

    Args:
        args: The command line.
        folder: An empty one, for the views of the teacher.
    """
    config = load_scoped(args.config)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (args.batch, 3, *args.size), generator=generator).byte()
    samples = noise_labels(config.model.student, args.batch, tuple(args.size), generator)
    data = dict(inputs=list(images), data_samples=samples)
    terms = full_weight_terms(config)
    first = next(iter(terms))
    peer = MODELS.build(copy.deepcopy(config.model.student)).train().to(get_device())
    alone = copy.deepcopy(peer)
    make_lean(alone)
    use_channels_last(alone)
    models = {
        "MMSegmentation's own, undistilled": peer,
        'the student alone, by mmkd': alone,
    }
    with lend_batch(lambda: data):
        models |= {
            f'distilled, term {first}': build_distiller(config, {first: terms[first]}),
            'distilled, all terms': build_distiller(config, terms),
            'distilled, all terms, teacher from the disk': build_distiller(config, terms),
        }
    keep_views(models['distilled, all terms, teacher from the disk'], data, folder)
    report_accuracy(nn.ModuleList(models.values()), False)

    def make_step(model: nn.Module) -> Callable[[], None]:
        settings = copy.deepcopy(config.optim_wrapper)
        if args.amp:
            settings.update(type='AmpOptimWrapper', loss_scale='dynamic')
        optimizer = build_optim_wrapper(model, settings)

        views = getattr(model, 'teacher_views', None)

        def step() -> None:
            if views is not None:  # as TeacherViewsHook does
                for image, sample in zip(images, samples, strict=True):
                    sample.set_metainfo(dict(teacher_view=views.row(image)))
            losses = model.train_step(data, optimizer)
            if not torch.isfinite(losses['loss']):
                raise UserError(f'the loss of a step is {losses["loss"]}')
            if hasattr(model, 'forget_terms'):  # as a hook does in training
                model.forget_terms()

        return step

    steps = {name: make_step(model) for name, model in models.items()}
    distiller, lean = models['distilled, all terms'], steps['the student alone, by mmkd']

    def floor() -> None:
        distiller.run_teacher(**distiller.data_preprocessor(data, True))
        lean()

    return steps | {'the floor: teacher to its last tap, student alone': floor}


def print_steps(args: argparse.Namespace) -> None:
    with TemporaryDirectory() as folder:
        times = median_ms(make_steps(args, Path(folder)), args.repeats)
    own = next(iter(times.values()))
    print("| step | ms | of MMSegmentation's own |\n| --- | --- | --- |")
    for name, time in times.items():
        print(f'| {name} | {time:.0f} | {time / own:.2f} |')


def print_memory(args: argparse.Namespace) -> None:
    with TemporaryDirectory() as folder:
        steps = make_steps(args, Path(folder))  # whose files stay open
    print("| step | peak, MiB | of MMSegmentation's own |\n| --- | --- | --- |")
    own = None
    for name, step in steps.items():
        step()  # the optimizer's state stays
        peak = peak_bytes(step)
        own = own or peak
        print(f'| {name} | {peak / 2**20:.0f} | {peak / own:.2f} |', flush=True)


def print_taps(args: argparse.Namespace) -> None:
    config = load_scoped(args.config)
    student = MODELS.build(copy.deepcopy(config.model.student))
    teacher = build_teacher(config)
    terms = [build_term(name, term) for name, term in full_weight_terms(config).items()]
    for term in terms:
        term.resolve_taps(student, teacher)
    sides = dict(
        student=(student, [tap for term in terms for tap in term.student_taps]),
        teacher=(teacher, [tap for term in terms for tap in term.teacher_taps]),
    )

    calls_timed = 100  # One alone is too short for the clock.

    def enter(network: nn.Module, taps: list) -> None:
        for _ in range(calls_timed):
            with record(network, taps):
                pass

    calls = {name: lambda side=side: enter(*side) for name, side in sides.items()}
    times = median_ms(calls, args.repeats)
    print('| taps of the | ms |\n| --- | --- |')
    for name, time in times.items():
        print(f'| {name} | {time / calls_timed:.3f} |')


def print_teacher(args: argparse.Namespace) -> None:
    config = load_scoped(args.config)
    plain = build_teacher(config)
    early = copy.deepcopy(plain)
    use_lean_heads(early)
    last = copy.deepcopy(early)
    use_channels_last(last)
    folded = copy.deepcopy(last)
    fold_batch_norms(folded)
    images = torch.randn(args.batch, 3, *args.size, device=get_device())

    def without_bookkeeping() -> Tensor:
        with torch.inference_mode():
            logits = early(images)
        return logits.clone()  # autograd cannot save a tensor of inference mode

    calls = {
        'plain': lambda: plain(images),
        'early fusion': lambda: early(images),
        'early fusion, inference_mode': without_bookkeeping,
        'early fusion, channels last': lambda: last(images),
        'early fusion, channels last, folded BatchNorms': lambda: folded(images),
    }
    with torch.no_grad():
        expected = plain(images)
        change = {name: (call() - expected).abs().max().item() for name, call in calls.items()}
        times = median_ms(calls, args.repeats)
    print('| pass | ms | of plain | largest change of a logit |\n| --- | --- | --- | --- |')
    for name, time in times.items():
        print(f'| {name} | {time:.0f} | {time / times["plain"]:.2f} | {change[name]:.1e} |')


def print_compile(args: argparse.Namespace) -> None:
    config = load_scoped(args.config)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(args.batch, 3, *args.size, generator=generator).to(get_device())
    samples = noise_labels(config.model.student, args.batch, tuple(args.size), generator)
    teacher = build_teacher(config)
    student = MODELS.build(copy.deepcopy(config.model.student)).train().to(get_device())
    for network in (teacher, student):
        make_lean(network)
        use_channels_last(network)
    fold_batch_norms(teacher)
    for module in student.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0  # torch.compile draws other random numbers

    def predict(network: nn.Module) -> Tensor:
        with torch.no_grad():
            return network(images)

    def train(network: nn.Module) -> Tensor:
        loss, _ = student.parse_losses(network(images, samples, mode='loss'))
        network.zero_grad()
        loss.backward()
        return loss.detach()

    print('| | lean, ms | compiled, ms | ratio | largest change | compiled in, s |')
    print('| --- ' * 6 + '|')
    for name, network, call in (
        ("the teacher's pass", teacher, predict),
        ("the student's step", student, train),
    ):
        compiled = torch.compile(copy.deepcopy(network))
        start = monotonic()
        found = call(compiled)
        seconds = monotonic() - start
        change = (found - call(network)).abs().max().item()
        times = median_ms(
            dict(lean=partial(call, network), compiled=partial(call, compiled)), args.repeats
        )
        ratio = times['compiled'] / times['lean']
        print(f'| {name} | {times["lean"]:.0f} | {times["compiled"]:.0f} | {ratio:.2f} ', end='')
        print(f'| {change:.1e} | {seconds:.0f} |', flush=True)


def main() -> None:
    args = parse_args()
    if args.amp and not torch.cuda.is_available():
        raise UserError('--amp: expected a GPU')
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(f'{device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}\n')
    tables = dict(
        loss=print_losses,
        step=print_steps,
        memory=print_memory,
        taps=print_taps,
        teacher=print_teacher,
        compile=print_compile,
    )
    tables[args.table](args)


if __name__ == '__main__':
    run_tool(main)
