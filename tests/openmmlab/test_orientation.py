import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import init_default_scope
from PIL import Image, ImageOps

from mmkd.datasets import FolderDataset
from mmkd.errors import UserError
from mmkd.registry import DATASETS

HEIGHT, WIDTH = 30, 50


def photo(path, orientation, height=HEIGHT, width=WIDTH):
    """Write a photo of noise; return it as it is stored and as EXIF shows it."""
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(path, exif=exif.tobytes())
    with Image.open(path) as image:
        return np.asarray(image)[..., ::-1], np.asarray(ImageOps.exif_transpose(image))[..., ::-1]


def load(path, box_size=None, **options):
    results = dict(img_path=str(path))
    if box_size is not None:
        results |= dict(instances=[dict(bbox=[0, 0, 5, 5])], height=box_size[0], width=box_size[1])
    return LoadImageFromFile(**options).transform(results)['img']


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('suffix', ['jpg', 'png'])
@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_orientation_annotation_size_tells_the_frame(tmp_path, orientation, suffix, backend):
    path = tmp_path / f'a.{suffix}'
    stored, shown = photo(path, orientation)
    options = dict(imdecode_backend=backend)
    assert load(path, (HEIGHT, WIDTH), **options).shape == stored.shape
    assert np.abs(load(path, (HEIGHT, WIDTH), **options).astype(int) - stored).max() < 9
    if suffix == 'jpg' or backend == 'pillow':  # OpenCV's builds differ in reading PNG's EXIF
        assert np.abs(load(path, (WIDTH, HEIGHT), **options).astype(int) - shown).max() < 9


@pytest.mark.parametrize(
    'suffix, backend',
    [('tif', 'cv2'), ('tif', 'pillow'), ('tif', 'tifffile'), ('webp', 'cv2'), ('webp', 'pillow')],
)
@pytest.mark.parametrize('orientation', range(2, 9))
def test_orientation_decoders_never_yield_the_other_frame(tmp_path, orientation, suffix, backend):
    if backend == 'tifffile':
        pytest.importorskip('tifffile', reason='it is not installed')
    path, noise = tmp_path / f'a.{suffix}', np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    noise[: HEIGHT // 2, : WIDTH // 3] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(path, exif=exif.tobytes())
    rows, columns = HEIGHT, WIDTH
    frames = {(rows, columns): noise}
    if orientation >= 5:
        turn = {5: (0, True), 6: (-1, False), 7: (2, True), 8: (1, False)}[orientation]
        turned = np.rot90(noise.transpose(1, 0, 2) if turn[1] else noise, turn[0])
        frames[columns, rows] = turned
    for size, expected in frames.items():
        for color_type in ('color', 'color_ignore_orientation'):
            try:
                found = load(path, size, color_type=color_type, imdecode_backend=backend)
            except UserError as error:
                assert f'EXIF orientation {orientation}' in str(error)
            else:
                assert found.shape == expected.shape
                assert np.abs(found.astype(int) - expected).mean() < 9


@pytest.mark.parametrize('orientation', range(2, 9))
def test_orientation_without_annotation_is_upright(tmp_path, orientation):
    _, shown = photo(tmp_path / 'a.jpg', orientation)
    assert load(tmp_path / 'a.jpg').shape == shown.shape


@pytest.mark.parametrize('orientation', [2, 3, 4])
def test_orientation_ambiguous_turn_is_rejected_without_loader_option(tmp_path, orientation):
    path = tmp_path / 'a.jpg'
    stored, _ = photo(path, orientation)
    with pytest.raises(UserError, match=f'a.jpg: EXIF orientation {orientation}: expected 1'):
        load(path, (HEIGHT, WIDTH))
    image = load(path, (HEIGHT, WIDTH), color_type='color_ignore_orientation')
    assert np.abs(image.astype(int) - stored).max() < 9


def test_orientation_square_photo_is_rejected(tmp_path):
    photo(tmp_path / 'a.jpg', 6, 40, 40)
    with pytest.raises(UserError, match='EXIF orientation 6'):
        load(tmp_path / 'a.jpg', (40, 40))


def test_orientation_size_from_image_is_not_used(tmp_path):
    photo(tmp_path / 'a.jpg', 6)
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / 'a.jpg').rename(tmp_path / 'JPEGImages/a.jpg')
    (tmp_path / 'ImageSets/Main/train.txt').write_text('a')
    (tmp_path / 'Annotations/a.xml').write_text(
        '<annotation><object><name>nut</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>9</xmax>'
        '<ymax>9</ymax></bndbox></object></annotation>'
    )
    init_default_scope('mmdet')
    data = DATASETS.build(
        dict(
            type='mmkd.CheckedVOCDataset',
            data_root=str(tmp_path),
            ann_file='ImageSets/Main/train.txt',
            data_prefix=dict(sub_data_root=''),
            metainfo=dict(classes=('nut',)),
            pipeline=[dict(type='LoadImageFromFile')],
        )
    )
    with pytest.raises(UserError, match='EXIF orientation 6'):
        data[0]


@pytest.mark.parametrize('orientation, as_stored', [(6, True), (8, False), (3, True)])
def test_orientation_folder_label_map_fits_photo(tmp_path, orientation, as_stored):
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    stored, shown = photo(tmp_path / 'images/a.jpg', orientation)
    wanted = stored if as_stored else shown
    cv2.imwrite(str(tmp_path / 'labels/a.png'), np.zeros(wanted.shape[:2], np.uint8))
    data = FolderDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=('a',)),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='mmkd.LoadCheckedAnnotations')],
    )
    if orientation == 3:
        with pytest.raises(UserError, match='EXIF orientation 3'):
            data[0]
        return
    assert np.abs(data[0]['img'].astype(int) - wanted).max() < 9


@pytest.mark.parametrize('stated', [(HEIGHT * 2, WIDTH * 2), (WIDTH, HEIGHT), (HEIGHT, WIDTH + 1)])
def test_load_boxes_of_an_image_of_another_size_are_an_error(tmp_path, stated):
    photo(tmp_path / 'a.jpg', 1)
    with pytest.raises(UserError) as error:
        load(tmp_path / 'a.jpg', stated)
    assert f'a.jpg is {HEIGHT} x {WIDTH} pixels: expected {stated[0]} x {stated[1]}' in str(
        error.value
    )


@pytest.mark.parametrize(
    'stated', [(HEIGHT, WIDTH), (float(HEIGHT), float(WIDTH)), (0, 0), (None, None)]
)
def test_load_boxes_of_the_stated_or_an_unknown_size_load(tmp_path, stated):
    photo(tmp_path / 'a.jpg', 1)
    assert load(tmp_path / 'a.jpg', stated).shape == (HEIGHT, WIDTH, 3)
