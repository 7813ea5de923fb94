"""Check a distillation before it trains: teacher, taps, gradients and cost, and a verdict."""

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmkd.analysis.feature_survey import Feature, describe_tap, survey_features
from mmkd.analysis.readiness import Readiness, verdict
from mmkd.analysis.term_gradients import mean_gradients, term_gradients
from mmkd.analysis.timing import median_ms
from mmkd.analysis.training_step import training_steps
from mmkd.checkpoints.load_weights import load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.cli.arguments import config_parser, load_config_from_args, positive
from mmkd.config.checks.checkpoints import checkpoint_hook, metric_rule
from mmkd.config.checks.data import check_dataloaders, settle_worker_options
from mmkd.config.checks.loops import check_loops
from mmkd.config.checks.optimizer import check_optimizer
from mmkd.config.student import innermost_dataset, is_distillation
from mmkd.datasets.class_order import classes_of
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.gradient_share import GradientShare
from mmkd.distillation.load import load_distiller
from mmkd.distillation.sample_batch import lend_batch
from mmkd.distillation.tap import Tap
from mmkd.distillation.term import Term
from mmkd.engine.first_batch import load_first_batch
from mmkd.engine.teacher_score import predict_as_teacher, why_not_scored
from mmkd.errors import UserError
from mmkd.losses import ActivationATLoss, FrequencyAttentionLoss
from mmkd.openmmlab.passes import run_without_loss
from mmkd.openmmlab.tasks import is_detector
from mmkd.registry import DATASETS

_BATCHES = 2


def score(
    network: nn.Module, config: Config, count: int, predict: Callable | None = None
) -> tuple[str, float]:
    """Return the name of the config's first metric and its value, from 0 to 100.

    Args:
        network: A segmentor, detector or classifier, through its own preprocessing.
        config: Its ``val_dataloader`` and ``val_evaluator`` are used.
        count: Number of validation images, the first ones.
        predict: Returns the predictions of a batch; ``network.val_step`` if omitted.
    """
    predict = predict or network.val_step
    loader, metric = copy.deepcopy(config.val_dataloader), config.val_evaluator
    if isinstance(metric, dict) and 'metrics' in metric:  # one for each of several datasets
        loader.dataset = innermost_dataset(loader.dataset)
        metric = metric['metrics'][0]
    loader.batch_size = 1
    dataloader = Runner.build_dataloader(loader, seed=0)
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dataloader.dataset.metainfo
    network.eval()
    seen = []
    with torch.no_grad():
        for batch in islice(dataloader, count):
            samples = predict(batch)
            evaluator.process(data_samples=samples, data_batch=batch)
            seen += [sample.get('img_id') for sample in samples]
    for one in evaluator.metrics:
        if hasattr(one, 'img_ids'):  # COCO's: if None, those of all images of its file
            one.img_ids = seen
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)  # no table of classes
    metrics = evaluator.evaluate(len(seen))
    logger.setLevel(level)
    chosen = [key for key in metrics for full in _chosen_by(config) if _is_metric(key, full)]
    if not metrics:  # MMDetection's, where no box was found
        return next(filter(None, _chosen_by(config)), 'score'), 0.0
    name = (chosen or list(metrics))[0]
    # MMDetection's metrics are fractions, those of the other libraries per cent.
    return name, float(metrics[name]) * (100 if is_detector(network) else 1)


def smaller_is_better(config: Config, metric: str) -> bool:
    """Return whether a smaller value of a metric is better, as the checkpoint hook decides it."""
    rule = checkpoint_hook(config).get('rule')
    if isinstance(rule, list):
        rules = dict(zip(_chosen_by(config), rule, strict=False))
        rule = next((rules[full] for full in rules if _is_metric(metric, full)), None)
    return metric_rule(metric, rule) == 'less'


def _chosen_by(config: Config) -> list[str | None]:
    """Return the names of the metrics that choose the best checkpoint."""
    best = checkpoint_hook(config).get('save_best')
    return best if isinstance(best, list) else [best]


def _is_metric(key: str, name: str | None) -> bool:
    # With several datasets, the config's name has the dataset before it.
    return f'/{name}'.endswith(f'/{key}')


def tapped_features(distiller: Distiller, data: dict) -> dict[str, list[Feature]]:
    """Return, for each term, what its taps yield on a batch: the student's, then the teacher's."""
    inputs, samples = data['inputs'], data['data_samples']
    teacher = distiller.teacher.for_prediction(inputs.device)
    own = distiller.teacher.inputs(inputs, samples)

    def features(network: nn.Module, batch: tuple, taps: Sequence[Tap]) -> list[Feature]:
        size = tuple(batch[0].shape[-2:])
        paths = [str(tap) for tap in taps]
        return survey_features(network, lambda: run_without_loss(network, *batch), size, paths)

    found = {}
    for name, term in distiller.distill.items():
        found[name] = [
            *features(distiller.student, (inputs, samples), term.student_taps),
            *features(teacher, own, term.teacher_taps),
        ]
    return found


def compares_maps(term: Term) -> bool:
    """Return whether a term compares attention maps."""
    loss = term.loss
    attends = isinstance(loss, FrequencyAttentionLoss) and loss.compare == 'attention'
    return attends or isinstance(loss, ActivationATLoss)


def training_length(config: Config) -> int:
    """Return the number of iterations of a training."""
    if config.train_cfg.get('max_iters'):
        return config.train_cfg.max_iters
    init_default_scope(config.get('default_scope') or 'mmengine')
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    return config.train_cfg.max_epochs * len(loader)


def print_report(
    found: Readiness, metric: str | None, images: int, unscored: str | None = None
) -> None:
    """Print what was found, section by section, and the verdict.

    Args:
        found: What was found.
        metric: The name of the scores' metric; None without a score.
        images: Number of images that were scored.
        unscored: Why the teacher does not have a score.
    """
    if found.teacher_score is None:
        print(f'\nTeacher: not scored: {unscored}')
    else:
        score = f'{metric} {found.teacher_score:.1f}'
        print(f'\nTeacher: {score} on the first {images} validation images')
    if found.baseline_score is not None:
        gap = ''
        if found.teacher_score is not None:
            gap = f'; the teacher is at {found.teacher_score - found.baseline_score:+.1f}'
        print(f'Student without a teacher: {found.baseline_score:.1f}{gap}')
    for name, features in found.features.items():
        print(f'\nTerm {name}')
        for feature in features:
            print(f'  {describe_tap(feature)}')
        if name in found.gradients:
            term = found.gradients[name]
            print(f"  gradient {term.ratio:.3f} of the task's, cosine {term.cosine:+.2f}")
    plain, distilled = found.step_ms
    hours = found.iterations * distilled / 3.6e6
    print(
        f'\nA step takes {distilled / plain:.2f} times the step without a teacher; '
        f'{found.iterations} iterations take {hours:.1f} hours on this machine'
    )
    print('\nVerdict')
    for sentence in verdict(found):
        print(f'  {sentence}')


def main() -> None:
    parser = config_parser(__doc__)
    parser.add_argument(
        '--baseline', help='checkpoint of the same student trained without a teacher'
    )
    parser.add_argument(
        '--images', type=positive, default=40, help='number of validation images to score'
    )
    args = parser.parse_args()
    config = load_config_from_args(args)
    if not is_distillation(config):
        raise UserError(
            f'{args.config}: expected a distillation (model.type=mmkd.Distiller); write one with '
            'mmkd distill'
        )
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator'):
        if not config.get(key):
            raise UserError(f'{key}={config.get(key)}: expected the data to check on; add it')
    for key in ('train_cfg', 'optim_wrapper'):
        if not config.get(key):
            raise UserError(
                f'{key}={config.get(key)}: expected this key, as in a training config; add it'
            )
    check_loops(config)
    check_dataloaders(config, 'train_dataloader', 'val_dataloader')
    check_optimizer(config)
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.num_workers = 0
    settle_worker_options(config)
    torch.manual_seed(0)
    init_default_scope(config.get('default_scope') or 'mmengine')
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    with lend_batch(lambda: load_first_batch(loader)):
        distiller = load_distiller(config, None).to(get_device())
    if args.baseline:  # before the teacher is scored, which takes minutes
        weights = load_checkpoint_file(args.baseline)
        load_weights(distiller.student, weights, f'--baseline={args.baseline}')
    teacher = distiller.teacher.for_prediction(torch.device(get_device()))
    metric = teacher_score = baseline_score = None
    validated = innermost_dataset(config.val_dataloader.dataset)
    dataset = DATASETS.build(dict(validated, lazy_init=True))
    unscored = why_not_scored(distiller.teacher.network, distiller.student, classes_of(dataset))
    if not unscored:
        at_its_scale = partial(predict_as_teacher, teacher, distiller.teacher.inputs)
        metric, teacher_score = score(teacher, config, args.images, at_its_scale)
    if args.baseline:
        metric, baseline_score = score(distiller.student, config, args.images)
    batches = [
        distiller.data_preprocessor(batch, training=True) for batch in islice(loader, _BATCHES)
    ]
    distiller.eval()
    features = tapped_features(distiller, batches[0])
    distiller.train()
    for term in distiller.distill.values():
        term.schedule_factor = 1.0  # the full weight, wherever its schedule begins
    gradients = [term_gradients(distiller, b['inputs'], b['data_samples']) for b in batches]
    for term in distiller.distill.values():
        if isinstance(term.weight, GradientShare):
            term.weight.set_iteration(1)  # like nearly every iteration, it measures no gradient
    steps = training_steps(
        distiller, config.optim_wrapper, batches[0]['inputs'], batches[0]['data_samples']
    )
    times = median_ms({name: steps[name] for name in ('plain', 'distil')}, repeats=3)
    found = Readiness(
        teacher_score=teacher_score,
        baseline_score=baseline_score,
        gradients=mean_gradients(gradients),
        features=features,
        map_terms=[name for name, term in distiller.distill.items() if compares_maps(term)],
        step_ms=(times['plain'], times['distil']),
        iterations=training_length(config),
        smaller_is_better=metric is not None and smaller_is_better(config, metric),
    )
    print_report(found, metric, args.images, unscored)
