"""One image of a distillation as a picture: predictions on top, then what every term compares."""

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from torch import Tensor

from mmkd.distillation.recording import Recording
from mmkd.distillation.tap import INPUT_GRADIENT, Tap
from mmkd.distillation.term import Term
from mmkd.losses import (
    FAMLoss,
    FrequencyAttentionLoss,
    FRSFeatureLoss,
    FRSHeadLoss,
    LocalizationKDLoss,
)
from mmkd.losses.affinities import MambaStateAffinity
from mmkd.ops.attention import attention_map
from mmkd.ops.attention_readings import Attention, ScanInputs
from mmkd.ops.feature_richness import feature_richness
from mmkd.ops.fourier import frequency_filter, frequency_mask
from mmkd.ops.nodes import node_grid
from mmkd.visualization.inspection import Inspection
from mmkd.visualization.overlay import overlay
from mmkd.visualization.panel import caption, panel, stack
from mmkd.visualization.prediction import prediction_picture, truth_picture

_HEIGHT = 192  # of every picture, in pixels


@torch.no_grad()
def distillation_picture(
    inspection: Inspection, metainfo: Mapping, baseline: np.ndarray | None = None
) -> np.ndarray:
    """Return the whole picture, row below row, BGR (H, W, 3), uint8.

    The first row shows the image, the ground truth, the predictions of teacher and student, and the
    baseline's prediction if there is one. Each term has one row for each of its sides, with the map
    of every tap, see :func:`tap_map`. A frequency term also shows the maps of low and high
    frequencies, split at the term's cutoff, and the feature's spectrum. An FRS term also shows the
    teacher's mask.

    Args:
        inspection: What both networks predicted and recorded.
        metainfo: The dataset's metainfo.
        baseline: The baseline's prediction as a picture with the image's shape.
    """
    answers = {
        'input': inspection.image,
        'ground truth': truth_picture(inspection.image, inspection.sample, metainfo),
    }
    if inspection.taught is not None:
        answers['teacher'] = prediction_picture(inspection.image, inspection.taught, metainfo)
    answers['student'] = prediction_picture(inspection.image, inspection.sample, metainfo)
    if baseline is not None:
        answers['baseline'] = baseline
    rows = [panel(answers, _HEIGHT)]
    for term in inspection.distiller.distill.values():
        weight = 'scheduled' if term.current_weight is None else f'{term.current_weight:.3g}'
        loss = f'{type(term.loss).__name__}({term.loss.extra_repr()})'
        title = f'{term.name}, weight {weight}: {loss}'
        rows.append(caption(title, rows[0].shape[1], 34, bold=True))
        for side, taps, recording in (
            ('student', term.student_taps, inspection.student),
            ('teacher', term.compared_taps, inspection.teacher),
        ):
            pictures = {}
            for tap in taps:
                pictures |= _tap_pictures(term, side, tap, recording, inspection)
            if pictures:
                rows.append(panel(pictures, _HEIGHT))
        masks = [(tap, inspection.teacher[tap]) for tap in score_taps(term)]
        if masks:
            rows.append(panel(_masks(masks, inspection), _HEIGHT))
    return stack(rows)


def score_taps(term: Term) -> list[Tap]:
    """Return the taps of the teacher's class scores of a term that weights by them."""
    if isinstance(term.loss, FRSFeatureLoss | LocalizationKDLoss):
        return term.extra_taps['scores']
    return term.compared_taps if isinstance(term.loss, FRSHeadLoss) else []


def spectrum(feature: Tensor) -> np.ndarray:
    """Return the log amplitude of a feature, averaged over channels, zero frequency in the centre.

    Args:
        feature: (C, H, W).

    Returns:
        (H, W), >= 0.
    """
    amplitude = torch.fft.fft2(feature.float(), norm='ortho').abs().mean(0)
    return torch.fft.fftshift(amplitude.log1p()).cpu().numpy()


def tap_map(term: Term, tap: Tap, value: object) -> Tensor | None:
    """Return where a network looks at a tap of a term.

    For a feature it is the attention map, with the power and mapping of the term's loss if it has
    them. For ``input_gradient`` it is the sum of absolute values, because squares of a gradient
    show only a few bright dots. For an attention tap it is :func:`attention_received`.

    Args:
        term: The term.
        tap: One of its taps.
        value: What the tap recorded.

    Returns:
        (B, h, w), >= 0; None if the values do not lie on a grid.
    """
    if isinstance(value, Attention | ScanInputs):
        return attention_received(value)
    if not isinstance(value, Tensor) or value.ndim != 4:
        return None
    if tap == INPUT_GRADIENT:
        return attention_map(value, p=1)
    own = {name: getattr(term.loss, name, None) for name in ('mapping', 'p')}
    return attention_map(value, **{name: v for name, v in own.items() if v is not None})


@torch.enable_grad()
def pull_maps(term: Term, student: Recording, teacher: Recording) -> dict[Tap, Tensor]:
    """Return where a term would change the student: its gradient at each position of a tap.

    It is the norm over channels of the loss's gradient with respect to the tapped feature. Pixels
    with an ignored label count too.

    Args:
        term: The term.
        student, teacher: What the two networks recorded.

    Returns:
        (B, h, w), >= 0, for each of the student's taps that lies on a grid.
    """
    values = {tap: student[tap] for tap in term.student_taps}
    features = {t: f for t, f in values.items() if isinstance(f, Tensor) and f.ndim == 4}
    if not features:
        return {}
    tracked = [feature.requires_grad for feature in features.values()]
    for feature in features.values():
        feature.requires_grad_()
    gradients = torch.autograd.grad(term(student, teacher), list(features.values()))
    for feature, before in zip(features.values(), tracked, strict=True):
        feature.requires_grad_(before)
    return {tap: g.norm(dim=1) for tap, g in zip(features, gradients, strict=True)}


def attention_received(attention: Attention | ScanInputs) -> Tensor | None:
    """Return how much each token is attended to, averaged over heads and queries.

    For a scan, the tokens are the nodes of ``MambaStateAffinity``.

    Returns:
        (B, h, w) on the keys' grid, 1 on average; None if the block does not give its grid.
    """
    if isinstance(attention, ScanInputs):
        grid = node_grid(attention.grid)
        affinity = MambaStateAffinity()(attention, grid)
    elif attention.key_grid is None:
        return None
    else:
        grid, affinity = attention.key_grid, attention.affinity()
    received = affinity.mean(dim=(1, 2))
    return (received * received.shape[-1]).unflatten(-1, grid)


def _tap_pictures(
    term: Term, side: str, tap: Tap, recording: Recording, inspection: Inspection
) -> dict[str, np.ndarray]:
    value = recording[tap]
    shown = tap_map(term, tap, value)
    if shown is None:
        return {}
    pictures = {f'{side} {tap}': _overlay(shown[0], inspection)}
    if isinstance(term.loss, FrequencyAttentionLoss | FAMLoss):
        kind = getattr(term.loss, 'filter', 'ideal')
        cutoff = term.loss.cutoff
        mask = frequency_mask(value.shape[2:], 1.0, 0.0, cutoff, kind, value.device)
        low = frequency_filter(value, mask)
        parts = {'low': low, 'high': value.float() - low}
        for name, part in parts.items():
            pictures[f'{side} {name}, {tap}'] = _overlay(attention_map(part)[0], inspection)
        pictures[f'{side} spectrum, {tap}'] = _spectrum_picture(value[0], cutoff, inspection)
    return pictures


def _masks(masks: list[tuple[Tap, Tensor]], inspection: Inspection) -> dict[str, np.ndarray]:
    maps = {tap: feature_richness(scores)[0] for tap, scores in masks}
    peak = max(float(mask.max()) for mask in maps.values())
    return {
        f'mask {tap}': overlay(inspection.image, inspection.upsample_to_image(mask), peak)
        for tap, mask in maps.items()
    }


def _overlay(grid: Tensor, inspection: Inspection) -> np.ndarray:
    shown = inspection.upsample_to_image(grid)
    return overlay(inspection.image, shown, float(shown.max()))


def _spectrum_picture(feature: Tensor, cutoff: float, inspection: Inspection) -> np.ndarray:
    """Return the coloured spectrum with the cutoff's ellipse, in the shape of the image."""
    height, width = inspection.image.shape[:2]
    values = spectrum(feature)
    level = (255 * values / max(values.max(), 1e-12)).astype(np.uint8)
    picture = cv2.applyColorMap(cv2.resize(level, (width, height)), cv2.COLORMAP_VIRIDIS)
    rows, columns = values.shape  # the zero frequency is in the middle
    centre = ((columns // 2 + 0.5) / columns * width, (rows // 2 + 0.5) / rows * height)
    axes = (cutoff * width / 2, cutoff * height / 2)
    place = [tuple(map(round, point)) for point in (centre, axes)]
    cv2.ellipse(picture, *place, 0, 0, 360, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
