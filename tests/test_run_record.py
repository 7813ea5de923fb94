import json

import pytest

from mmkd.run_record import read_record


def write(folder, start, *lines):
    path = folder / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(
        ''.join(line if isinstance(line, str) else json.dumps(line) + '\n' for line in lines)
    )
    return path


def step(n, loss, time=1.0):
    return dict(lr=0.1, loss=loss, time=time, iter=n, step=n)


def test_a_resumed_run_is_one_record(tmp_path):
    write(
        tmp_path,
        '20260101_000000',
        step(1, 5.0),
        step(2, 4.0),
        dict(mIoU=10.0, step=2),
        step(3, 9.0),
    )
    write(tmp_path, '20260101_010000', step(3, 3.0), step(4, 2.0), dict(mIoU=20.0, step=4))
    record = read_record(tmp_path)
    assert [line['loss'] for line in record.train] == [5.0, 4.0, 3.0, 2.0]
    assert record.scores('mIoU') == [(2, 10.0), (4, 20.0)]
    assert record.scores('mAP') == []


def test_a_run_that_began_anew_is_the_record(tmp_path):
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
    record = read_record(tmp_path)
    assert [line['loss'] for line in record.train] == [6.0, 5.0]
    assert record.scores('mIoU') == [(2, 20.0)]


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path):
    write(tmp_path, '20260101_000000', step(1, 5.0), '{"lr": 0.1, "lo')
    assert [line['step'] for line in read_record(tmp_path).train] == [1]


def test_step_time_is_the_median(tmp_path):
    write(tmp_path, '20260101_000000', *(step(n, 1.0, t) for n, t in enumerate([9.0, 1.0, 2.0])))
    assert read_record(tmp_path).step_time == pytest.approx(2.0)


def test_a_folder_without_a_log_is_empty(tmp_path):
    record = read_record(tmp_path)
    assert (record.train, record.val, record.step_time) == ([], [], None)
