"""Scores of exported segmentors on a config's test data, beside the network's own."""

import copy
from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.utils import ProgressBar
from mmseg.models import BaseSegmentor
from torch import Tensor
from torch.nn import functional

from mmkd.deploy.files import Predictor


def segmentation_scores(
    network: BaseSegmentor,
    config: Config,
    predictors: dict[str, tuple[Predictor, bool]],
) -> dict[str, dict[str, float]]:
    """Evaluate functions of images as ``config`` evaluates ``network``.

    Logits are resized to the annotation's size by the network's own post-processing; so are
    labels, as logits of 0 and 1.

    Args:
        network: for its preprocessing and post-processing.
        config: its ``test_dataloader`` and ``test_evaluator`` are used.
        predictors: by name, a function and whether it takes raw images, as
            :class:`mmkd.deploy.deployed.Deployed` says.

    Returns:
        The metrics by predictor.
    """
    loader = _one_by_one(config.test_dataloader)
    evaluators = {name: Evaluator(config.test_evaluator) for name in predictors}
    for evaluator in evaluators.values():
        evaluator.dataset_meta = loader.dataset.metainfo
    progress = ProgressBar(len(loader))
    for batch in loader:
        ready = network.data_preprocessor(copy.copy(batch), False)
        for name, (predict, takes_raw) in predictors.items():
            images = raw_images(batch) if takes_raw else ready['inputs']
            (output,) = predict(images)
            samples = network.postprocess_result(
                _logits(output, network), copy.deepcopy(ready['data_samples'])
            )
            evaluators[name].process(data_samples=samples, data_batch=batch)
        progress.update()
    print()
    return {name: e.evaluate(len(loader.dataset)) for name, e in evaluators.items()}


def images_of(network: BaseSegmentor, dataloader: dict, count: int, raw: bool) -> Iterator[Tensor]:
    """The first ``count`` images of a dataloader's data set, one by one, raw or preprocessed."""
    for _, batch in zip(range(count), _one_by_one(dataloader), strict=False):
        yield raw_images(batch) if raw else network.data_preprocessor(batch, False)['inputs']


def raw_images(batch: dict) -> Tensor:
    """(N, H, W, 3), uint8, BGR, of a batch as a data loader gives it."""
    return torch.stack(list(batch['inputs'])).permute(0, 2, 3, 1).contiguous()


def _one_by_one(dataloader: dict) -> torch.utils.data.DataLoader:
    sampler = dict(type='DefaultSampler', shuffle=False)
    changes = dict(batch_size=1, num_workers=0, persistent_workers=False, sampler=sampler)
    kept = {k: v for k, v in dataloader.items() if k != 'batch_sampler'}
    return Runner.build_dataloader(dict(kept, **changes))


def _logits(output: Tensor, network: BaseSegmentor) -> Tensor:
    """Logits (N, K, H, W) of an output that may be labels (N, H, W)."""
    if output.is_floating_point():
        return output
    classes = network.decode_head.num_classes
    if network.decode_head.out_channels == 1:  # what the threshold is on: a sigmoid
        return output[:, None].float() * 2e4 - 1e4
    return functional.one_hot(output.long(), classes).permute(0, 3, 1, 2).float()
