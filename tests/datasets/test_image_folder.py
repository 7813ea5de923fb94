import numpy as np
import pytest
from PIL import Image

from mmkd.datasets.image_folder import ImageFolder
from mmkd.errors import UserError

LOAD = [dict(type='LoadImageFromFile')]


def save(path, mode: str = 'RGB', values: int = 256):
    """An image of noise with that many values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (20, 30, 3) if mode == 'RGB' else (20, 30)
    pixels = np.random.default_rng(0).integers(0, values, size, dtype=np.uint8)
    if mode == 'P':
        image = Image.fromarray(pixels)
        image.putpalette(list(range(256)) * 3)  # turns the mode from L to P
    elif mode == 'I;16':
        image = Image.fromarray(pixels.astype(np.uint16))
    else:
        image = Image.fromarray(pixels).convert(mode)
    image.save(path)


def build(folder, **options) -> ImageFolder:
    return ImageFolder(data_prefix=dict(img_path=str(folder)), pipeline=LOAD, **options)


def test_image_folder_lists_images_of_all_subfolders_by_name(tmp_path):
    for name in ('b.png', 'a/2.JPG', 'a/10.jpg'):
        save(tmp_path / name)
    (tmp_path / 'notes.txt').touch()
    dataset = build(tmp_path)
    found = [dataset[i]['img_path'].removeprefix(f'{tmp_path}/') for i in range(len(dataset))]
    assert found == ['a/10.jpg', 'a/2.JPG', 'b.png']
    assert dataset[0]['img'].shape == (20, 30, 3)
    assert len(build(tmp_path, indices=[0, 2])) == 2


def test_image_folder_passes_over_hidden_files_and_folders(tmp_path):
    for name in ('a.jpg', '.ipynb_checkpoints/a-checkpoint.jpg'):
        save(tmp_path / name)
    (tmp_path / '._a.jpg').write_bytes(b'no image')
    assert [info['img_path'] for info in build(tmp_path)] == [str(tmp_path / 'a.jpg')]


def test_image_folder_accepts_grey_photographs(tmp_path):
    save(tmp_path / 'a.png', 'L')
    assert build(tmp_path)[0]['img'].shape == (20, 30, 3)


@pytest.mark.parametrize('mode, values', [('P', 256), ('P', 11), ('L', 11), ('1', 2), ('I;16', 60)])
def test_image_folder_rejects_label_maps(tmp_path, mode, values):
    save(tmp_path / 'a.jpg')
    save(tmp_path / 'labels/a.png', mode, values)
    message = 'img_path=.*: expected photographs, but labels/a.png is a label map, .*; move'
    with pytest.raises(UserError, match=message):
        build(tmp_path)


def test_image_folder_rejects_real_label_maps(shared):
    with pytest.raises(UserError, match='expected photographs, but .*png is a label map'):
        build(shared / 'data/camvid/valannot')


def save_colours(path, mode: str, count: int):
    """A label map whose classes have colours, or another image of so many colours."""
    palette = np.random.default_rng(0).permutation(256)[:count, None].repeat(3, 1)
    pixels = palette[np.arange(600).reshape(20, 30) % count].astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA'])
def test_image_folder_rejects_label_maps_in_colour(tmp_path, mode):
    """As CamVid's and Cityscapes' are, beside their photographs."""
    save(tmp_path / '0001TP_006690.png')
    save(tmp_path / '0001TP_006720.png')
    save_colours(tmp_path / '0001TP_006690_L.png', mode, 64)
    message = 'photographs, but 0001TP_006690_L.png is a label map, or has at most 64 colours'
    with pytest.raises(UserError, match=message):
        build(tmp_path)


@pytest.mark.parametrize('count', [1, 65])
def test_image_folder_accepts_images_of_one_colour_or_many(tmp_path, count):
    save_colours(tmp_path / 'a.png', 'RGB', count)
    assert len(build(tmp_path)) == 1


def test_image_folder_reads_the_colours_of_one_image_of_each_kind(tmp_path, monkeypatch):
    for name in ('1.png', '20.png', '1_b.png', 'c/3.png'):
        save(tmp_path / name)
    read, getcolors = [], Image.Image.getcolors
    monkeypatch.setattr(
        Image.Image, 'getcolors', lambda *args: read.append(args[0].filename) or getcolors(*args)
    )
    build(tmp_path)
    assert [name.removeprefix(f'{tmp_path}/') for name in read] == ['1.png', '1_b.png', 'c/3.png']


@pytest.mark.parametrize('folder', ['none', ''])
def test_image_folder_rejects_missing_folder(tmp_path, folder):
    with pytest.raises(UserError, match='img_path=.*: expected a folder of images; create it'):
        build(tmp_path / folder if folder else '')


def test_image_folder_rejects_empty_folder(tmp_path):
    (tmp_path / 'a.txt').touch()
    with pytest.raises(UserError, match=r'expected images \(.jpg, .*\), but it holds none; put'):
        build(tmp_path)


def test_image_folder_names_damaged_images(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    with pytest.raises(UserError, match='a.jpg: expected an image; remove or replace it'):
        build(tmp_path)[0]
    (tmp_path / 'b.png').write_bytes(b'no image')
    with pytest.raises(UserError, match='b.png: expected an image; remove or replace it'):
        build(tmp_path)
