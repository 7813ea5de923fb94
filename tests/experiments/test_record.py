import json
import math

import pytest

from mmkd.experiments.record import load_record
from mmkd.experiments.summary import summarise


def write(folder, start, *lines):
    path = folder / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(
        ''.join(line if isinstance(line, str) else json.dumps(line) + '\n' for line in lines)
    )
    return path


def step(n, loss, time=1.0):
    return dict(lr=0.1, loss=loss, time=time, iter=n, step=n)


def test_load_record_of_resumed_run_is_one(tmp_path):
    write(
        tmp_path,
        '20260101_000000',
        step(1, 5.0),
        step(2, 4.0),
        dict(mIoU=10.0, step=2),
        step(3, 9.0),
    )
    write(tmp_path, '20260101_010000', step(3, 3.0), step(4, 2.0), dict(mIoU=20.0, step=4))
    record = load_record(tmp_path)
    assert [line['loss'] for line in record.train] == [5.0, 4.0, 3.0, 2.0]
    assert record.scores('mIoU') == [(2, 10.0), (4, 20.0)]
    assert record.scores('mAP') == []


def test_load_record_restart_from_scratch_replaces_earlier(tmp_path):
    write(
        tmp_path,
        '20260101_000000',
        step(1, 5.0),
        dict(mIoU=10.0, step=1),
        step(2, 4.0),
        step(3, 3.0),
        dict(mIoU=30.0, step=3),
    )
    write(tmp_path, '20260101_010000', step(1, 6.0), step(2, 5.0), dict(mIoU=20.0, step=2))
    record = load_record(tmp_path)
    assert [line['loss'] for line in record.train] == [6.0, 5.0]
    assert record.scores('mIoU') == [(2, 20.0)]


def test_load_record_truncated_line_is_omitted(tmp_path):
    write(tmp_path, '20260101_000000', step(1, 5.0), '{"lr": 0.1, "lo')
    assert [line['step'] for line in load_record(tmp_path).train] == [1]


def test_record_step_time_is_the_median(tmp_path):
    write(tmp_path, '20260101_000000', *(step(n, 1.0, t) for n, t in enumerate([9.0, 1.0, 2.0])))
    assert load_record(tmp_path).step_time == pytest.approx(2.0)


def test_load_record_without_log_is_empty(tmp_path):
    record = load_record(tmp_path)
    assert (record.train, record.val, record.step_time) == ([], [], None)


@pytest.mark.parametrize('interval', [1, 50])
@pytest.mark.parametrize('clocks', [(1, 2, 3), (3, 1, 2), (2, 3, 1), (3, 2, 1)])
def test_load_record_parts_are_ordered_by_step(tmp_path, clocks, interval):
    for part, clock in enumerate(clocks):
        first, end = 4 * part + 1, 4 * part + 5
        lines = [step(n * interval, float(n)) for n in range(first, end)]
        score = dict(mIoU=float(part), step=(end - 1) * interval)
        write(tmp_path, f'20260101_0{clock}0000', *lines, score)
    record = load_record(tmp_path)
    assert [line['loss'] for line in record.train] == [float(n) for n in range(1, 13)]
    assert [value for _, value in record.scores('mIoU')] == [0.0, 1.0, 2.0]


def test_load_record_foreign_lines_are_omitted(tmp_path):
    write(tmp_path, '20260101_000000', step(1, 5.0), '[1]\n', '{"step": "<b>"}\n', 'null\n')
    assert len(load_record(tmp_path).train) == 1


def test_record_skipped_steps_are_of_the_last_line(tmp_path):
    lines = [step(1, 5.0), step(2, 4.0) | dict(skipped_steps=1), dict(mIoU=1.0, step=3)]
    lines[2]['skipped_steps'] = 4
    write(tmp_path, '20260101_000000', *lines)
    assert load_record(tmp_path).skipped_steps == 4


@pytest.mark.parametrize('value', ['x', None, [1], {}, True, 10**400])
@pytest.mark.parametrize('key', ['loss', 'time', 'skipped_steps', 'distill.term', 'mIoU', 'step'])
def test_load_record_values_that_are_no_numbers_are_omitted(tmp_path, key, value):
    lines = [step(1, 5.0), dict(mIoU=10.0, step=1), step(2, 4.0), dict(mIoU=20.0, step=2)]
    odd = lines[1 if key == 'mIoU' else 0]
    write(
        tmp_path,
        '20260101_000000',
        *(line | {key: value} if line is odd else line for line in lines),
    )
    record = load_record(tmp_path)
    assert record.scores('mIoU')[-1] == (2, 20.0)
    assert record.task_loss[-1] == (2, 4.0)
    assert record.step_time == 1.0 and record.skipped_steps == 0 and record.train_seconds == 2.0
    assert record.terms == []


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_load_record_step_time_and_skipped_steps_are_finite(tmp_path, value):
    odd = step(1, 5.0, value) | dict(skipped_steps=value)
    write(tmp_path, '20260101_000000', odd, step(2, 4.0, 3.0))
    record = load_record(tmp_path)
    assert record.step_time == 3.0 and record.skipped_steps == 0


def test_load_record_deeply_nested_line_is_omitted(tmp_path):
    write(tmp_path, '20260101_000000', '[' * 100_000 + '\n', step(1, 5.0))
    assert [line['step'] for line in load_record(tmp_path).train] == [1]


# The step of a validation after epoch n, of sixty iterations each: by MMEngine's default in a
# loop by epochs, in a loop by iterations, and log_metric_by_epoch=False.
STEPS = {'epoch': lambda n: n, 'zero': lambda n: 0, 'iteration': lambda n: 60 * n}


@pytest.mark.parametrize('clocks', [(1, 2), (2, 1)])
@pytest.mark.parametrize('steps', STEPS)
def test_load_record_resumed_run_has_the_scores_of_every_part(tmp_path, steps, clocks):
    def score(epoch, value):
        return dict(mIoU=value, step=STEPS[steps](epoch))

    # Ended in epoch 3 and resumed at its start, where mmkd validates first.
    parts = (
        [step(50, 5.0), score(1, 10.0), step(110, 4.0), score(2, 20.0), step(170, 9.0)],
        [score(2, 21.0), step(170, 3.0), score(3, 30.0), step(230, 2.0), score(4, 25.0)],
    )
    for clock, lines in zip(clocks, parts, strict=True):
        write(tmp_path, f'20260101_0{clock}0000', *lines)
    record = load_record(tmp_path)
    assert [line['loss'] for line in record.train] == [5.0, 4.0, 3.0, 2.0]
    places = [60, 120, 180, 240] if steps == 'iteration' else [50, 110, 170, 230]
    assert record.scores('mIoU') == list(zip(places, [10.0, 21.0, 30.0, 25.0], strict=True))
    assert record.train_seconds == places[-1]


@pytest.mark.parametrize('steps', STEPS)
def test_load_record_start_that_only_validated_has_the_last_score(tmp_path, steps):
    # Ended while it validated its last checkpoint; the next start had nothing left to train.
    write(
        tmp_path,
        '20260101_000000',
        step(50, 5.0),
        dict(mIoU=10.0, step=STEPS[steps](1)),
        step(110, 4.0),
    )
    write(tmp_path, '20260101_010000', dict(mIoU=20.0, step=STEPS[steps](2)))
    record = load_record(tmp_path)
    assert [value for _, value in record.scores('mIoU')] == [10.0, 20.0]
    assert [line['step'] for line in record.train] == [50, 110]


@pytest.mark.parametrize('steps', STEPS)
def test_load_record_restart_drops_scores_by_epoch(tmp_path, steps):
    write(tmp_path, '20260101_000000', step(50, 5.0), dict(mIoU=10.0, step=STEPS[steps](1)))
    write(tmp_path, '20260101_010000', step(50, 6.0), dict(mIoU=7.0, step=STEPS[steps](1)))
    assert [value for _, value in load_record(tmp_path).scores('mIoU')] == [7.0]


def test_load_record_scores_are_dropped_that_a_resumed_part_trains_again(tmp_path):
    write(tmp_path, '20260101_000000', step(50, 5.0), step(150, 4.0), dict(mIoU=10.0, step=150))
    write(tmp_path, '20260101_010000', step(100, 3.0))  # ended before it validated
    assert load_record(tmp_path).scores('mIoU') == []


def test_load_record_scores_before_the_first_log_line_count_after_a_resume(tmp_path):
    def score(iteration, value):
        return dict(mIoU=value, step=iteration)

    # A log line every 50 iterations, a validation every 20; ended at 55, resumed from 40.
    write(tmp_path, '20260101_000000', score(20, 30.0), score(40, 25.0), step(50, 5.0))
    write(tmp_path, '20260101_010000', score(40, 25.0), step(50, 5.0), score(60, 20.0))
    assert load_record(tmp_path).scores('mIoU') == [(20, 30.0), (40, 25.0), (60, 20.0)]


def log(folder, start, text):
    (folder / start / f'{start}.log').write_text(text)


def test_load_record_processes_are_those_of_the_starts_that_count(tmp_path):
    starts = ('20260101_000000', '20260101_010000', '20260101_020000')
    for start, first, processes in zip(starts, (1, 1, 2), (4, 8, 2), strict=True):
        write(tmp_path, start, step(first, 5.0))
        log(tmp_path, start, f'2026/01/01 - INFO -\n    GPU number: {processes}\n----\n')
    assert load_record(tmp_path).processes == {8, 2}  # the second one began from scratch


def test_load_record_processes_without_a_log_are_unknown(tmp_path):
    write(tmp_path, '20260101_000000', step(1, 5.0))
    log(tmp_path, '20260101_000000', 'loss of GPU number: 4\n')
    assert load_record(tmp_path).processes == frozenset()


def test_scores_of_a_validation_without_the_metric_are_not_those_of_the_one_before(finished_run):
    """A detector that finds no box at its last validation has no mAP there."""
    run = finished_run('blind', 0, 20.0, 30.0)
    (log,) = run.folder.glob('*/vis_data/scalars.json')
    time = dict(data_time=0.1, time=0.2)
    # The second line is a value that a hook of your own logs, not a validation.
    lines = [dict(time, step=20), dict(own=1.0, step=20)]
    log.write_text('\n'.join([*log.read_text().splitlines()[:-1], *map(json.dumps, lines)]))
    first, last = load_record(run.folder).scores('mIoU')
    assert first == (10, 20.0) and last[0] == 20 and math.isnan(last[1])
    assert load_record(run.folder).scores('coco/bbox_mAP') == []
    (summary,) = summarise([run])
    assert summary.not_finite == (0,) and not summary.last
