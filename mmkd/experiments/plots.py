"""Plots of an ablation: scores and differences by class as bars; losses and weights as curves."""

import io
import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

from mmkd.experiments.class_scores import paired_differences  # noqa: E402
from mmkd.experiments.record import RunRecord, load_record  # noqa: E402
from mmkd.experiments.summary import Summary, baseline, other_metrics  # noqa: E402


def score_bars(summaries: Sequence[Summary]) -> plt.Figure:
    """Draw a bar for each config's mean score, with the standard deviation and each seed.

    A dashed line marks the baseline.
    """
    shown = [s for s in summaries if s.last][::-1]
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.32 * len(shown)), layout='constrained')
    for i, summary in enumerate(shown):
        spread = stdev(summary.last) if len(summary.last) > 1 else 0.0
        colour = 'tab:blue' if summary.runs[0].distilled else 'tab:gray'
        axes.barh(i, mean(summary.last), xerr=spread or None, color=colour, alpha=0.75, capsize=3)
        axes.plot(summary.last, [i] * len(summary.last), 'k.', markersize=4)
    baselines = {b.name: b for b in (baseline(s, shown) for s in shown) if b}
    for other in baselines.values():
        axes.axvline(mean(other.last), color='tab:gray', linestyle='--', linewidth=1)
    axes.set_yticks(range(len(shown)), [s.name for s in shown])
    values = [value for s in shown for value in s.last if math.isfinite(value)]
    if values:  # zoom in, because runs differ by a few points
        axes.set_xlim(_zoom(values))
        axes.set_xlabel(f'{shown[0].runs[0].metric}, last validation')
    return figure


def _zoom(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis that shows how ``values`` differ, in per cent or as fractions."""
    low, high = min(values), max(values)
    margin = 0.15 * (high - low) or 0.0125 * abs(high) or 0.5  # equal values have no spread
    return low - margin if low < 0 else max(0.0, low - margin), high + margin


def curves(summaries: Sequence[Summary]) -> plt.Figure:
    """Draw scores on each validation set, task loss, and each term's loss and weight.

    Each config has its first seed.
    """
    shown = [(s, load_record(s.runs[0].folder)) for s in summaries]
    shown = [(s, record) for s, record in shown if record.train]
    keys = dict.fromkeys(k for _, record in shown for line in record.train for k in line)
    terms = [k for k in keys if k.startswith(('distill.', 'weight.'))]
    others = other_metrics(summary.runs[0] for summary, _ in shown)
    panels = ['score', *others, 'task loss', *sorted(terms)]
    rows = (len(panels) + 1) // 2
    figure, grid = plt.subplots(
        rows, 2, figsize=(11, 3 * rows + 0.14 * len(shown)), layout='constrained', squeeze=False
    )
    colours = plt.get_cmap('tab20')
    for axes, title in zip(grid.flat, panels, strict=False):
        axes.set_title(title, fontsize=10)
        for i, (summary, record) in enumerate(shown):
            points = _points(title, record, summary.runs[0].metric)
            if points:
                style = '-' if i < 20 else '--'
                axes.plot(*zip(*points, strict=True), style, color=colours(i % 20), linewidth=1)
    for axes in list(grid.flat)[len(panels) :]:
        axes.axis('off')
    handles = [
        plt.Line2D([], [], color=colours(i % 20), linestyle='-' if i < 20 else '--')
        for i in range(len(shown))
    ]
    names = [f'{s.name}, seed {s.runs[0].seed}' for s, _ in shown]
    figure.legend(handles, names, loc='outside lower center', ncols=3, fontsize=8)
    return figure


def class_differences(
    summaries: Sequence[Summary], class_scores: Mapping[str, Mapping[str, Mapping[int, float]]]
) -> plt.Figure:
    """Draw how each distilled config changes the IoU of each class, against its baseline.

    A bar is the mean over the seeds that both have, a point one seed. Each config has a row, each
    validation set a column. A class that a set does not have is left out.

    Args:
        summaries: From ``summarise``.
        class_scores: IoU in percent by config, class and seed, from ``class_scores``.
    """
    compared = [(s, other) for s in summaries if (other := baseline(s, summaries))]
    panels = {
        (row, dataset): differences
        for row, (summary, other) in enumerate(compared)
        for dataset, differences in _by_dataset(summary, other, class_scores).items()
    }
    datasets = list(dict.fromkeys(dataset for _, dataset in panels)) or ['']
    tallest = max(map(len, panels.values()), default=0)
    size = (1 + 5 * len(datasets), len(compared) * (1 + 0.24 * tallest) or 2)
    figure, grid = plt.subplots(
        len(compared) or 1, len(datasets), figsize=size, layout='constrained', squeeze=False
    )
    for axes in grid.flat:
        axes.axis('off')
    for (row, dataset), differences in panels.items():
        axes = grid[row, datasets.index(dataset)]
        axes.axis('on')
        for i, seeds in enumerate(differences.values()):
            colour = 'tab:blue' if mean(seeds) > 0 else 'tab:red'
            axes.barh(i, mean(seeds), color=colour, alpha=0.75)
            axes.plot(seeds, [i] * len(seeds), 'k.', markersize=4)
        axes.axvline(0, color='black', linewidth=1)
        axes.set_yticks(range(len(differences)), differences)
        axes.invert_yaxis()  # in the order of the classes
        axes.set_xlabel('difference of IoU, points')
        summary, other = compared[row]
        title = f'{summary.name}\nminus {other.name}'
        axes.set_title(f'{title}, {dataset}' if dataset else title, fontsize=9)
    return figure


def _by_dataset(
    summary: Summary,
    other: Summary,
    class_scores: Mapping[str, Mapping[str, Mapping[int, float]]],
) -> dict[str, dict[str, list[float]]]:
    """Return the differences of common seeds, by dataset and class."""
    found: dict[str, dict[str, list[float]]] = {}
    several = '/' in summary.runs[0].metric  # then the classes are named ``prefix/class``
    for name, differences in paired_differences(class_scores, summary.name, other.name).items():
        if differences:
            dataset, _, label = name.partition('/') if several else ('', '', name)
            found.setdefault(dataset, {})[label] = differences
    return found


def _points(title: str, record: RunRecord, metric: str) -> list[tuple[int, float]]:
    if title == 'task loss':
        return record.task_loss
    scores = record.scores(metric if title == 'score' else title)
    return scores or record.values(title)


def to_png(figure: plt.Figure) -> bytes:
    """Return the figure as a PNG file and close it."""
    out = io.BytesIO()
    figure.savefig(out, format='png', dpi=110)
    plt.close(figure)
    return out.getvalue()
