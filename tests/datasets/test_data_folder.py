"""Dataloaders for a folder of photographs and label maps."""

import cv2
import numpy as np
import pytest
from grey_png import write_grey_png
from PIL import Image

from mmkd.config.load import load_config
from mmkd.datasets.data_folder import folder_classes, folder_dataloaders
from mmkd.datasets.seeded_sampler import SeededIndex
from mmkd.errors import UserError
from mmkd.registry import DATASETS

STUDENT = 'configs/students/fast_scnn_camvid.py'


@pytest.fixture
def folder(tmp_path):
    """Two photographs of different sizes in each split, with the ids 0, 1, 4 and 255."""
    for split in ('train', 'val'):
        for part in ('images', 'labels'):
            (tmp_path / split / part).mkdir(parents=True)
        for i, (height, width) in enumerate([(90, 120), (120, 90)]):
            image = np.full((height, width, 3), 50 * i, np.uint8)
            label = np.resize(np.uint8([0, 1, 4, 255]), (height, width))
            cv2.imwrite(str(tmp_path / split / 'images' / f'{i}.jpg'), image)
            cv2.imwrite(str(tmp_path / split / 'labels' / f'{i}.png'), label)
    return tmp_path


def test_folder_classes_are_counted_up_to_the_largest_id(folder):
    assert folder_classes(folder) == ('class_0', 'class_1', 'class_2', 'class_3', 'class_4')


def test_folder_classes_labels_of_few_bits_are_an_error(folder):
    write_grey_png(folder / 'train/labels/0.png', np.full((90, 120), 3), 2)
    with pytest.raises(UserError, match='0.png: expected a PNG of one channel of 8 bits .*: save'):
        folder_classes(folder)


def test_folder_classes_hidden_label_files_are_passed_over(folder):
    (folder / 'train/labels/._0.png').write_bytes(b'no label')
    assert len(folder_classes(folder)) == 5


def test_folder_classes_come_from_classes_txt(folder):
    (folder / 'classes.txt').write_text('soil\ncrop\n\nweed\na\nb\n')
    assert folder_classes(folder) == ('soil', 'crop', 'weed', 'a', 'b')


def test_folder_classes_empty_file_is_an_error(folder):
    (folder / 'classes.txt').write_text('\n')
    with pytest.raises(UserError, match='classes.txt: expected one class name a line'):
        folder_classes(folder)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'a\nb\na\n', "expected each class name once; remove one 'a'"),
        ('Straße\n'.encode('latin-1'), 'expected UTF-8; save it so'),
    ],
)
def test_folder_classes_of_a_bad_file_are_an_error(folder, content, message):
    (folder / 'classes.txt').write_bytes(content)
    with pytest.raises(UserError, match=f'classes.txt: {message}'):
        folder_classes(folder)


def test_folder_classes_leave_out_a_byte_order_mark(folder):
    (folder / 'classes.txt').write_text('soil\nStraße\n', encoding='utf-8-sig')
    assert folder_classes(folder) == ('soil', 'Straße')


def test_folder_classes_unreadable_label_is_an_error(folder):
    (folder / 'train' / 'labels' / '1.png').write_bytes(b'')
    with pytest.raises(UserError, match='1.png: expected a PNG label map'):
        folder_classes(folder)


def test_folder_classes_of_a_palette_png_are_its_indices(folder):
    path = folder / 'train' / 'labels' / '1.png'
    label = Image.fromarray(np.full((90, 120), 6, np.uint8)).convert('P')
    label.putdata([6] * (90 * 120))
    label.putpalette([200, 100, 50] * 256)
    label.save(path)
    assert len(folder_classes(folder)) == 7


@pytest.mark.parametrize('kind', [np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint16)])
def test_folder_classes_label_of_colours_is_an_error(folder, kind):
    cv2.imwrite(str(folder / 'train' / 'labels' / '1.png'), kind)
    with pytest.raises(UserError, match='1.png: expected a PNG of one channel of 8 bits'):
        folder_classes(folder)


@pytest.mark.parametrize('key', ['train_dataloader', 'val_dataloader'])
def test_folder_dataloaders_keep_the_configs_sizes_and_read_the_folder(folder, key):
    config = load_config(STUDENT)
    batch_size = config[key].batch_size
    config.merge_from_dict(folder_dataloaders(folder, config))
    assert config[key].batch_size == batch_size
    dataset = DATASETS.build(dict(config[key].dataset, _scope_='mmseg'))
    item = dataset[SeededIndex(0, seed=0, draw=0)]  # enlarged, and cropped
    label = item['data_samples'].gt_sem_seg.data
    assert set(label.unique().tolist()) <= {0, 1, 4, 255}
    if key == 'train_dataloader':
        assert tuple(item['inputs'].shape[1:]) == tuple(label.shape[1:]) == (180, 240)
    else:  # labels keep their own size
        assert tuple(label.shape[1:]) == (90, 120)


@pytest.mark.parametrize(
    'remove, message',
    [
        ('train/labels', 'expected train/images, train/labels'),
        ('val/images', 'expected a folder val/images'),
    ],
)
def test_folder_dataloaders_missing_folder_is_an_error(folder, remove, message):
    (folder / remove).rename(folder / 'elsewhere')
    with pytest.raises(UserError, match=message):
        folder_dataloaders(folder, load_config(STUDENT))


def test_folder_dataloaders_pass_over_hidden_files(folder):
    (folder / 'train' / 'images' / '.DS_Store').touch()
    overrides = folder_dataloaders(folder, load_config(STUDENT))
    assert overrides['train_dataloader']['dataset']['img_suffix'] == '.jpg'


@pytest.mark.parametrize(
    'wrap',
    [
        lambda data: dict(type='ConcatDataset', datasets=[data, data]),
        lambda data: dict(type='RepeatDataset', times=2, dataset=data),
    ],
)
def test_folder_dataloaders_keep_the_transforms_of_a_wrapped_dataset(folder, wrap):
    config = load_config(STUDENT)
    expected = folder_dataloaders(folder, config)['train_dataloader']['dataset']['pipeline']
    config.train_dataloader.dataset = wrap(config.train_dataloader.dataset)
    assert len(expected) > 3
    found = folder_dataloaders(folder, config)['train_dataloader']['dataset']['pipeline']
    assert found == expected


def test_folder_dataloaders_without_transforms_is_an_error(folder):
    config = load_config(STUDENT)
    config.val_dataloader.dataset.pop('pipeline')
    with pytest.raises(UserError, match='val_dataloader.dataset.pipeline: expected transforms'):
        folder_dataloaders(folder, config)


def test_folder_dataloaders_test_as_they_validate(folder):
    config = load_config(STUDENT)
    config.test_evaluator = dict(type='CityscapesMetric', output_dir='results', format_only=True)
    config.merge_from_dict(folder_dataloaders(folder, config))
    assert config.test_evaluator == config.val_evaluator
    assert config.test_dataloader == config.val_dataloader
