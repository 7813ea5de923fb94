"""Scores of exported networks on a config's test data, beside the network's scores."""

import copy
from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from mmengine.utils import ProgressBar
from torch import Tensor, nn
from torch.nn import functional

from mmkd.deploy.export_files import Predictor
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.openmmlab.tasks import is_classifier, segmentation_head


def exported_scores(
    network: nn.Module,
    config: Config,
    predictors: dict[str, tuple[Predictor, bool]],
) -> dict[str, dict[str, float]]:
    """Evaluate functions of images as ``config`` evaluates ``network``.

    A segmentor's post-processing resizes logits to the size of the annotation. Labels are resized
    in the same way, as logits of 0 and 1. Raw images are padded as the network's preprocessing pads
    them, with its colour rounded.

    Args:
        network: A segmentor or classifier, for its preprocessing and post-processing.
        config: Gives ``test_dataloader``, ``test_evaluator`` and the model's ``data_preprocessor``.
        predictors: By name, a function and whether it takes raw images, see
            :class:`mmkd.deploy.export_model.ExportModel`.

    Returns:
        The metrics of each predictor.
    """
    loader = _one_by_one(config.test_dataloader)
    evaluators = {name: Evaluator(config.test_evaluator) for name in predictors}
    for evaluator in evaluators.values():
        evaluator.dataset_meta = loader.dataset.metainfo
    preprocessing = Preprocessing.from_config(config.model.get('data_preprocessor'), testing=True)
    progress = ProgressBar(len(loader))
    for batch in loader:
        ready = network.data_preprocessor(copy.copy(batch), False)
        for name, (predict, takes_raw) in predictors.items():
            images = raw_images(batch, preprocessing) if takes_raw else ready['inputs']
            (output,) = predict(images)
            samples = _predict(network, output, copy.deepcopy(ready['data_samples']))
            evaluators[name].process(data_samples=samples, data_batch=batch)
        progress.update()
    print()
    return {name: e.evaluate(len(loader.dataset)) for name, e in evaluators.items()}


def evaluation_images(
    network: nn.Module, dataloader: dict, count: int, raw: Preprocessing | None
) -> Iterator[Tensor]:
    """Yield the first ``count`` images of a dataloader's dataset, preprocessed.

    With ``raw`` they are raw, padded as this preprocessing pads them.
    """
    for batch in evaluation_batches(dataloader, count):
        yield raw_images(batch, raw) if raw else network.data_preprocessor(batch, False)['inputs']


def evaluation_batches(dataloader: dict, count: int) -> Iterator[dict]:
    """Yield the first ``count`` samples of a dataloader's dataset, as batches of one."""
    for _, batch in zip(range(count), _one_by_one(dataloader), strict=False):
        yield batch


def raw_images(batch: dict, preprocessing: Preprocessing) -> Tensor:
    """Return (B, H, W, 3), uint8, BGR, of a data loader's batch, padded at the right and bottom."""
    images = torch.stack(list(batch['inputs'])).permute(0, 2, 3, 1)
    count, height, width, _ = images.shape
    colour = images.new_tensor(preprocessing.padding_colour)
    padded = colour.repeat(count, *preprocessing.padded((height, width)), 1)
    padded[:, :height, :width] = images
    return padded


def _one_by_one(dataloader: dict) -> torch.utils.data.DataLoader:
    sampler = dict(type='DefaultSampler', shuffle=False)
    changes = dict(batch_size=1, num_workers=0, persistent_workers=False, sampler=sampler)
    kept = {k: v for k, v in dataloader.items() if k != 'batch_sampler'}
    return Runner.build_dataloader(dict(kept, **changes))


def _predict(
    network: nn.Module, output: Tensor, samples: list[BaseDataElement]
) -> list[BaseDataElement]:
    """Return the samples with the prediction that a file's output is."""
    if is_classifier(network):
        for sample, scores in zip(samples, output, strict=True):
            sample.set_pred_score(scores).set_pred_label(scores.argmax())
        return samples
    return network.postprocess_result(_logits(output, network), samples)


def _logits(output: Tensor, network: nn.Module) -> Tensor:
    """Return logits (B, K, H, W) of an output that may be labels (B, H, W)."""
    if output.is_floating_point():
        return output
    head = segmentation_head(network)
    if head.out_channels == 1:  # the threshold applies to a sigmoid
        return output[:, None].float() * 2e4 - 1e4
    return functional.one_hot(output.long(), head.num_classes).permute(0, 3, 1, 2).float()
