import cv2
import numpy as np
import pytest

from mmkd.datasets import FolderDataset
from mmkd.datasets import folder_dataset as module
from mmkd.errors import UserError

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='mmkd.LoadCheckedAnnotations')]
SIZE = (6, 8)


@pytest.fixture
def fields(tmp_path):
    """Two images of three classes, 0.jpg and 1.jpg; builds the data set."""
    for name in ('images', 'labels'):
        (tmp_path / name).mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / f'images/{i}.jpg'), np.full((*SIZE, 3), 90, np.uint8))
        cv2.imwrite(str(tmp_path / f'labels/{i}.png'), np.full(SIZE, i + 1, np.uint8))

    def build(**changes) -> FolderDataset:
        prefix = dict(img_path='images', seg_map_path='labels')
        facts = dict(metainfo=dict(classes=('soil', 'crop', 'weed')), data_prefix=prefix)
        facts['pipeline'] = PIPELINE
        return FolderDataset(data_root=str(tmp_path), **facts | changes)

    return build


def test_folder_dataset_items_are_images_with_labels(fields):
    data = fields()
    assert len(data) == 2
    for i in range(2):
        assert data[i]['img'].shape == (*SIZE, 3)
        assert (data[i]['gt_seg_map'] == i + 1).all()


def test_folder_dataset_id_above_classes_raises_user_error(fields):
    fields()[1]
    with pytest.raises(UserError, match=r'labels/1.png holds the class id 2: expected 0 to 1, '):
        fields(metainfo=dict(classes=('soil', 'plant')))[1]


@pytest.mark.parametrize('key', ['img_path', 'seg_map_path'])
def test_folder_dataset_missing_folder_raises_user_error(fields, key):
    prefix = dict(img_path='images', seg_map_path='labels') | {key: 'none'}
    with pytest.raises(UserError, match=rf'/none \(data_prefix.{key}\); create it'):
        fields(data_prefix=prefix)


def test_folder_dataset_suffix_without_images_raises_user_error(fields):
    with pytest.raises(UserError, match=r"img_suffix='.png': expected images \*.png in"):
        fields(img_suffix='.png')


@pytest.mark.parametrize('content', [b'', b'\xff\xd8 no image'])
def test_folder_dataset_damaged_image_raises_user_error(fields, tmp_path, content):
    (tmp_path / 'images/1.jpg').write_bytes(content)
    with pytest.raises(UserError, match=r'images/1.jpg or its label .* cannot be read: '):
        fields()[1]


@pytest.mark.parametrize('spelling', ['.JPG', '.jpeg', '.Jpeg'])
def test_folder_dataset_suffix_in_other_case_is_found(fields, tmp_path, spelling):
    cv2.imwrite(str(tmp_path / 'images/2.jpg'), np.full((*SIZE, 3), 90, np.uint8))
    (tmp_path / 'images/2.jpg').rename(tmp_path / f'images/2{spelling}')
    cv2.imwrite(str(tmp_path / 'labels/2.png'), np.full(SIZE, 2, np.uint8))
    data = fields()
    assert len(data) == 3
    assert (data[2]['gt_seg_map'] == 2).all() and data[2]['img'].shape == (*SIZE, 3)


def test_folder_dataset_long_suffix_in_other_case_is_found(fields, tmp_path):
    for i, suffix in enumerate(['_rgb.TIF', '_rgb.tiff', '_rgb.tif', '_mask.tif']):
        cv2.imwrite(str(tmp_path / 'images/t.tif'), np.zeros((*SIZE, 3), np.uint8))
        (tmp_path / 'images/t.tif').rename(tmp_path / f'images/t{i}{suffix}')
    names = [info['seg_map_path'] for info in fields(img_suffix='_rgb.tif', pipeline=[])]
    assert [name.rpartition('/')[2] for name in names] == ['t0.png', 't1.png', 't2.png']


def test_folder_dataset_other_formats_are_reported(fields, tmp_path, monkeypatch):
    (tmp_path / 'images/9.bmp').touch()
    (tmp_path / 'images/notes.txt').touch()
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, *_, **__: said.append(text))
    assert len(fields()) == 2
    assert len(said) == 1 and '1 images are left out, such as 9.bmp: img_suffix' in said[0]


def test_folder_dataset_two_images_of_one_label_are_rejected(fields, tmp_path):
    (tmp_path / 'images/1.JPEG').touch()
    with pytest.raises(UserError, match='have one label, .*labels/1.png; expected one image'):
        fields()


def test_folder_dataset_missing_classes_raise_user_error(fields):
    with pytest.raises(UserError, match='dataset.metainfo.classes is missing: expected'):
        fields(metainfo=None)
    with pytest.raises(UserError, match='dataset.metainfo.classes is missing: expected'):
        fields(metainfo=dict(palette=[[0, 0, 0]]))


def test_folder_dataset_class_twice_raises_user_error(fields, tmp_path):
    with pytest.raises(UserError, match="expected each class once; remove one 'soil'"):
        fields(metainfo=dict(classes=('soil', 'crop', 'soil')))
    (tmp_path / 'names.txt').write_text('soil\ncrop\ncrop\n')
    with pytest.raises(UserError, match="expected each class once; remove one 'crop'"):
        fields(metainfo=dict(classes=str(tmp_path / 'names.txt')))


def test_folder_dataset_one_name_in_place_of_a_list_raises_user_error(fields):
    with pytest.raises(
        UserError, match=r"classes='soil': expected a list of names, such as \['soil"
    ):
        fields(metainfo=dict(classes='soil'))


def test_folder_dataset_list_of_images_may_have_blank_lines(fields, tmp_path):
    (tmp_path / 'list.txt').write_text('1\n\n 0 \n\n')
    assert [i['img_path'][-5:] for i in fields(ann_file='list.txt')] == ['1.jpg', '0.jpg']


def test_folder_dataset_missing_list_of_images_raises_user_error(fields, tmp_path):
    with pytest.raises(UserError, match=f'dataset.ann_file={tmp_path}/none.txt does not exist'):
        fields(ann_file='none.txt')


def test_folder_dataset_missing_label_raises_user_error_before_it_is_read(fields, tmp_path):
    (tmp_path / 'labels/1.png').unlink()
    message = 'seg_map_path=.*/labels: expected a label for each image; 1 of 2 .* as .*/1.png: add'
    with pytest.raises(UserError, match=message):
        fields()
    (tmp_path / 'list.txt').write_text('0\n')
    assert len(fields(ann_file='list.txt')) == 1


def test_folder_dataset_pipeline_without_labels_needs_none(fields, tmp_path):
    (tmp_path / 'labels/1.png').unlink()
    assert len(fields(pipeline=PIPELINE[:1])) == 2


def test_folder_dataset_missing_image_of_list_raises_user_error(fields, tmp_path):
    (tmp_path / 'list.txt').write_text('0\n1.jpg\n')
    message = r'ann_file=.*: expected the images that it lists; 1 of 2 .* as .*/1.jpg.jpg: add'
    with pytest.raises(UserError, match=message):
        fields(ann_file='list.txt')


def test_folder_dataset_hidden_files_and_folders_are_passed_over(fields, tmp_path):
    (tmp_path / 'images/.ipynb_checkpoints').mkdir()
    for name in ('.ipynb_checkpoints/0-checkpoint.jpg', '._0.jpg', '.ipynb_checkpoints/0.png'):
        (tmp_path / 'images' / name).write_bytes(b'no image')
    data = fields()
    found = [data[i]['img_path'].removeprefix(f'{tmp_path}/') for i in range(len(data))]
    assert found == ['images/0.jpg', 'images/1.jpg']
