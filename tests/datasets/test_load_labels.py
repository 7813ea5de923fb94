import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.registry import TRANSFORMS

SHAPE = (6, 8)


def load(path, label_map=None, **facts) -> np.ndarray:
    transform = TRANSFORMS.build(dict(type='mmkd.LoadLabels'))
    results = dict(
        seg_map_path=str(path), ori_shape=SHAPE, reduce_zero_label=False, label_map=label_map,
        seg_fields=[], **dict(num_classes=11) | facts,
    )  # fmt: skip
    return transform(results)['gt_seg_map']


@pytest.fixture
def write(tmp_path):
    def write(label):
        cv2.imwrite(str(tmp_path / 'a.png'), np.asarray(label, dtype=np.uint8))
        return tmp_path / 'a.png'

    return write


def test_known_ids_and_the_ignored_one_pass(write):
    label = np.resize([*range(11), 255], SHAPE)
    assert np.array_equal(load(write(label)), label)


def test_ids_are_those_behind_the_label_map(write):
    label = np.resize([*range(12)], SHAPE)
    assert set(load(write(label), label_map={11: 255}).ravel()) == {*range(11), 255}


@pytest.mark.parametrize('unknown', [11, 12, 254])
def test_an_unknown_id_is_named(write, unknown):
    label = np.zeros(SHAPE)
    label[-1, -1] = unknown
    path = write(label)
    with pytest.raises(UserError, match=f'label {path} holds the class id {unknown}; allowed: 0'):
        load(path)


def test_a_data_set_that_does_not_say_its_classes_is_named(write):
    with pytest.raises(UserError, match="says how many classes it has: use type='mmkd.FolderData"):
        load(write(np.zeros(SHAPE)), num_classes=None)


@pytest.mark.parametrize('shape', [(8, 6), (6, 9), (12, 16), (6, 8, 3)])
def test_another_size_is_named(write, shape):
    path = write(np.arange(np.prod(shape)).reshape(shape) % 11)
    with pytest.raises(UserError, match=r'a.png has the shape .*, but its image \(6, 8\)'):
        load(path)


def test_ids_of_sixteen_bits_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full(SHAPE, 259, np.uint16))  # 3 in eight bits
    with pytest.raises(UserError, match='a.png has the mode I;16; allowed: one channel of 8 bits'):
        load(tmp_path / 'a.png')


def test_a_missing_label_is_named(tmp_path):
    with pytest.raises(UserError, match='nothing.png cannot be read: .*No such file'):
        load(tmp_path / 'nothing.png')


WHOLE = cv2.imencode('.png', np.resize(np.arange(11, dtype=np.uint8), SHAPE))[1].tobytes()
damaged = st.builds(
    lambda at, new: WHOLE[:at] + new + WHOLE[at + len(new) :],
    st.integers(0, len(WHOLE)),
    st.binary(max_size=8),
) | st.builds(lambda keep: WHOLE[:keep], st.integers(0, len(WHOLE)))


@pytest.mark.fuzz
@given(content=st.binary(max_size=60) | st.binary(max_size=60).map(WHOLE[:33].__add__) | damaged)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_reader_raises_nothing_but_the_line_that_names_the_file(tmp_path, content):
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    try:
        label = load(path)
    except UserError as error:
        assert f'label {path} ' in str(error)
    else:
        assert label.shape == SHAPE and set(label.ravel()) <= {*range(11), 255}
