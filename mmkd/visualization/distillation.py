"""One image of a distillation as a picture: answers on top, then what every term compares."""

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from torch import Tensor

from mmkd.affinities import MambaStateAffinity
from mmkd.attention_taps import Attention
from mmkd.losses import FAMLoss, FrequencyAttentionLoss, FRSFeatureLoss, FRSHeadLoss
from mmkd.ops.attention import attention_map
from mmkd.ops.feature_richness import feature_richness
from mmkd.ops.fourier import frequency_filter, frequency_mask
from mmkd.ops.nodes import node_grid
from mmkd.scan_taps import ScanInputs
from mmkd.taps import INPUT_GRADIENT, Recording, Tap
from mmkd.term import Term
from mmkd.visualization.heat import overlay
from mmkd.visualization.panel import caption, panel, stack
from mmkd.visualization.prediction import prediction_picture, truth_picture
from mmkd.visualization.reading import Reading

_HEIGHT = 192  # of every picture


@torch.no_grad()
def distillation_picture(
    reading: Reading, metainfo: Mapping, alone: np.ndarray | None = None
) -> np.ndarray:
    """All of it, rows below each other, BGR (H, W, 3), uint8.

    The first row has the image, the truth, the teacher's and the student's answer, and that of a
    student which trained alone, if there is one. A term has one row for each of its sides: the
    map of every tap, see :func:`tap_map`; of a frequency term also the maps of the feature's low
    and high frequencies, parted at the term's cutoff, and its spectrum; of an FRS term the
    teacher's mask.

    Args:
        reading: what both networks said and recorded.
        metainfo: the data set's.
        alone: the answer of the student that trained alone, of the image's shape.
    """
    answers = {
        'input': reading.image,
        'ground truth': truth_picture(reading.image, reading.sample, metainfo),
        'teacher': prediction_picture(reading.image, reading.taught, metainfo),
        'student': prediction_picture(reading.image, reading.sample, metainfo),
    }
    if alone is not None:
        answers['student alone'] = alone
    rows = [panel(answers, _HEIGHT)]
    for term in reading.distiller.distill.values():
        weight = 'scheduled' if term.current_weight is None else f'{term.current_weight:.3g}'
        loss = f'{type(term.loss).__name__}({term.loss.extra_repr()})'
        title = f'{term.name}, weight {weight}: {loss}'
        rows.append(caption(title, rows[0].shape[1], 34, bold=True))
        for side, taps, recording in (
            ('student', term.student_taps, reading.student),
            ('teacher', term.compared_taps, reading.teacher),
        ):
            pictures = {}
            for tap in taps:
                pictures |= _tap_pictures(term, side, tap, recording, reading)
            if pictures:
                rows.append(panel(pictures, _HEIGHT))
        masks = [(tap, reading.teacher.read(tap)) for tap in score_taps(term)]
        if masks:
            rows.append(panel(_masks(masks, reading), _HEIGHT))
    return stack(rows)


def score_taps(term: Term) -> list[Tap]:
    """The taps of the teacher's class scores that an FRS term weights by; none of another term."""
    if isinstance(term.loss, FRSFeatureLoss):
        return term.extra_taps['scores']
    return term.compared_taps if isinstance(term.loss, FRSHeadLoss) else []


def spectrum(feature: Tensor) -> np.ndarray:
    """Logarithm of a feature's amplitudes, averaged over channels, the zero frequency central.

    Args:
        feature: (C, H, W).

    Returns:
        (H, W), from 0 on.
    """
    amplitude = torch.fft.fft2(feature.float(), norm='ortho').abs().mean(0)
    return torch.fft.fftshift(amplitude.log1p()).cpu().numpy()


def tap_map(term: Term, tap: Tap, value: object) -> Tensor | None:
    """Where a network looks at a tap of a term.

    Of a feature it is the attention map, by the power and mapping of the term's loss if it has
    them; of ``input_gradient`` the sum of absolute values, for squares of a gradient are a few
    bright dots; of a tap that reads attention, what :func:`attention_received` says.

    Args:
        term: the term.
        tap: one of its taps.
        value: what the tap read.

    Returns:
        (N, h, w), from 0 on; None where nothing lies on a grid.
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
    """Where a term would change the student: how much its loss answers to each place of a tap.

    That is the norm over channels of the loss's gradient by the tapped feature. Pixels whose label
    is ignored count.

    Args:
        term: the term.
        student, teacher: what the two networks recorded.

    Returns:
        (N, h, w), from 0 on, of each of the student's taps that lies on a grid.
    """
    read = {tap: student.read(tap) for tap in term.student_taps}
    features = {t: f for t, f in read.items() if isinstance(f, Tensor) and f.ndim == 4}
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
    """How much the tokens are attended to, the mean over heads and queries, on the keys' grid.

    Of a scan the tokens are the nodes of ``MambaStateAffinity``.

    Returns:
        (N, h, w), 1 on average; None where the block does not say how its tokens lie.
    """
    if isinstance(attention, ScanInputs):
        grid = node_grid(attention.grid)
        weights = MambaStateAffinity()(attention, grid)
    elif attention.key_grid is None:
        return None
    else:
        grid, weights = attention.key_grid, attention.weights()
    received = weights.mean(dim=(1, 2))
    return (received * received.shape[-1]).unflatten(-1, grid)


def _tap_pictures(
    term: Term, side: str, tap: Tap, recording: Recording, reading: Reading
) -> dict[str, np.ndarray]:
    value = recording.read(tap)
    shown = tap_map(term, tap, value)
    if shown is None:
        return {}
    pictures = {f'{side} {tap}': _overlay(shown[0], reading)}
    if isinstance(term.loss, FrequencyAttentionLoss | FAMLoss):
        kind = getattr(term.loss, 'filter', 'ideal')
        cutoff = term.loss.cutoff
        mask = frequency_mask(value.shape[2:], 1.0, 0.0, cutoff, kind, value.device)
        low = frequency_filter(value, mask)
        parts = {'low': low, 'high': value.float() - low}
        for name, part in parts.items():
            pictures[f'{side} {name}, {tap}'] = _overlay(attention_map(part)[0], reading)
        pictures[f'{side} spectrum, {tap}'] = _spectrum_picture(value[0], cutoff, reading)
    return pictures


def _masks(masks: list[tuple[Tap, Tensor]], reading: Reading) -> dict[str, np.ndarray]:
    maps = {tap: feature_richness(scores)[0] for tap, scores in masks}
    peak = max(float(mask.max()) for mask in maps.values())
    return {
        f'mask {tap}': overlay(reading.image, reading.spread(mask), peak)
        for tap, mask in maps.items()
    }


def _overlay(grid: Tensor, reading: Reading) -> np.ndarray:
    shown = reading.spread(grid)
    return overlay(reading.image, shown, float(shown.max()))


def _spectrum_picture(feature: Tensor, cutoff: float, reading: Reading) -> np.ndarray:
    """The spectrum in colours, with the cutoff's ellipse, of the shape of the image."""
    height, width = reading.image.shape[:2]
    values = spectrum(feature)
    level = (255 * values / max(values.max(), 1e-12)).astype(np.uint8)
    picture = cv2.applyColorMap(cv2.resize(level, (width, height)), cv2.COLORMAP_VIRIDIS)
    rows, columns = values.shape  # of which the zero frequency has the middle one
    centre = ((columns // 2 + 0.5) / columns * width, (rows // 2 + 0.5) / rows * height)
    axes = (cutoff * width / 2, cutoff * height / 2)
    place = [tuple(map(round, point)) for point in (centre, axes)]
    cv2.ellipse(picture, *place, 0, 0, 360, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
