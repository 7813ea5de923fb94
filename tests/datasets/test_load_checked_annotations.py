import cv2
import numpy as np
import pytest
from grey_png import write_grey_png
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmkd.errors import UserError
from mmkd.registry import TRANSFORMS

SHAPE = (6, 8)


def load(path, label_map=None, **facts) -> np.ndarray:
    reduce = facts.get('reduce_zero_label', False)
    transform = TRANSFORMS.build(dict(type='mmkd.LoadCheckedAnnotations', reduce_zero_label=reduce))
    results = dict(
        seg_map_path=str(path), label_map=label_map, seg_fields=[],
        **dict(num_classes=11, ori_shape=SHAPE, reduce_zero_label=False) | facts,
    )  # fmt: skip
    return transform(results)['gt_seg_map']


@pytest.fixture
def write(tmp_path):
    def write(label):
        cv2.imwrite(str(tmp_path / 'a.png'), np.asarray(label, dtype=np.uint8))
        return tmp_path / 'a.png'

    return write


def test_load_checked_annotations_known_and_ignored_ids_pass(write):
    label = np.resize([*range(11), 255], SHAPE)
    assert np.array_equal(load(write(label)), label)


def test_load_checked_annotations_checks_ids_after_label_map(write):
    label = np.resize([*range(12)], SHAPE)
    assert set(load(write(label), label_map={11: 255}).ravel()) == {*range(11), 255}


@pytest.mark.parametrize('unknown', [11, 12, 254])
def test_load_checked_annotations_unknown_id_raises_user_error(write, unknown):
    label = np.zeros(SHAPE)
    label[-1, -1] = unknown
    path = write(label)
    with pytest.raises(UserError, match=f'label {path} holds the class id {unknown}: expected 0'):
        load(path)


def test_load_checked_annotations_names_the_files_id_beside_reduce_zero_label(write):
    label = np.resize([0, 1, 2, 3, 255], SHAPE)
    reduced = load(write(label), num_classes=3, reduce_zero_label=True)
    assert set(reduced.ravel()) == {0, 1, 2, 255}
    label[-1, -1] = 7
    with pytest.raises(UserError, match='holds the class id 7: expected 0 to 3, or 255'):
        load(write(label), num_classes=3, reduce_zero_label=True)


@pytest.mark.parametrize('shape', [(1, 9), (9, 1), (1, 1)])
def test_load_checked_annotations_one_pixel_high_or_wide_keep_their_shape(write, shape):
    label = np.arange(np.prod(shape)).reshape(shape)
    assert np.array_equal(load(write(label), ori_shape=shape), label)
    with pytest.raises(UserError, match=r'a.png has the shape .*: expected \(9, 9\)'):
        load(write(label), ori_shape=(9, 9))


def test_load_checked_annotations_without_classes_raises_user_error(write):
    with pytest.raises(UserError, match='expected a dataset that gives num_classes'):
        load(write(np.zeros(SHAPE)), num_classes=None)


@pytest.mark.parametrize('shape', [(8, 6), (6, 9), (12, 16)])
def test_load_checked_annotations_other_size_raises_user_error(write, shape):
    path = write(np.arange(np.prod(shape)).reshape(shape) % 11)
    with pytest.raises(UserError, match=r'a.png has the shape .*: expected \(6, 8\)'):
        load(path)


@pytest.mark.parametrize('channels', [3, 4])
def test_load_checked_annotations_colours_raise_user_error(write, channels):
    path = write(np.zeros((*SHAPE, channels)))
    with pytest.raises(UserError, match=f'{channels} channels: .* convert its colours to ids'):
        load(path)


def test_load_checked_annotations_more_classes_than_8_bits_hold_raise_user_error(write):
    path = write(np.full(SHAPE, 254))
    assert (load(path, num_classes=255) == 254).all()
    with pytest.raises(UserError, match='256 names: expected at most 255'):
        load(path, num_classes=256)


def test_load_checked_annotations_16_bit_ids_raise_user_error(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.full(SHAPE, 259, np.uint16))  # 3 in eight bits
    with pytest.raises(UserError, match='a.png has the mode I;16: expected one channel of 8 bits'):
        load(tmp_path / 'a.png')


def test_load_checked_annotations_missing_label_raises_user_error(tmp_path):
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
def test_load_checked_annotations_any_bytes_raise_user_error_with_file(tmp_path, content):
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    try:
        label = load(path)
    except UserError as error:
        assert f'label {path} ' in str(error)
    else:
        assert label.shape == SHAPE and set(label.ravel()) <= {*range(11), 255}


@pytest.mark.parametrize('bits', [2, 4])
def test_load_checked_annotations_few_bits_a_pixel_are_rejected(tmp_path, bits):
    """Decoders make 255, which is ignored, of the largest id."""
    label = np.zeros(SHAPE, np.uint8)
    label[0] = 2**bits - 1
    write_grey_png(tmp_path / 'a.png', label, bits)
    with pytest.raises(UserError, match='a.png has less than 8 bits a pixel: expected 8, .*; save'):
        load(tmp_path / 'a.png', num_classes=16)


def test_load_checked_annotations_one_bit_a_pixel_and_a_small_palette_load(tmp_path):
    label = np.resize(np.uint8([0, 1, 1]), SHAPE)
    write_grey_png(tmp_path / 'a.png', label, 1)
    assert np.array_equal(load(tmp_path / 'a.png'), label)
    image = Image.fromarray(label).convert('P')
    image.save(tmp_path / 'a.png', bits=2)
    assert np.array_equal(load(tmp_path / 'a.png'), np.asarray(image))
