import json

import pytest
from huggingface_folder import write_folder
from mmengine.config import Config

from mmkd.config.fingerprint import fingerprint
from mmkd.engine.views_origin import files_origin, unlabelled_datasets, views_origin

NETWORK = """
from torch import nn


def network():
    return nn.Conv2d(3, 4, 1)
"""


@pytest.fixture
def config(recipe) -> Config:
    return Config(recipe.to_dict())


def test_files_origin_changes_with_the_weights(config, tmp_path):
    weights = tmp_path / 'best.pth'
    weights.write_bytes(b'one')
    config.model.teacher.checkpoint = str(weights)
    before = files_origin(config)
    assert files_origin(config) == before
    weights.write_bytes(b'two')
    assert files_origin(config) != before


def test_files_origin_changes_with_the_files_of_a_huggingface_folder(config, tmp_path):
    folder = write_folder(tmp_path / 'teacher')
    config.model.teacher = dict(huggingface=str(folder))
    before = files_origin(config)
    file = folder / 'preprocessor_config.json'
    facts = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(facts | dict(image_mean=[0.1, 0.2, 0.3])))
    assert files_origin(config) != before


def test_files_origin_changes_with_the_code_of_a_network(config, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / 'network_of_a_test.py'
    code.write_text(NETWORK)
    weights = tmp_path / 'best.pth'
    weights.write_bytes(b'one')
    config.model.teacher = dict(type='network_of_a_test.network', checkpoint=str(weights))
    before = files_origin(config)
    code.write_text(NETWORK.replace('Conv2d(3, 4, 1)', 'Conv2d(3, 4, 3)'))
    assert files_origin(config) != before


def test_views_origin_names_what_changed(config):
    before = views_origin(config)
    config.model.teacher.scale = 0.5
    config.train_dataloader.sampler.views = 3
    after = views_origin(config)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {'model.teacher', 'sampler.views'}


def test_views_origin_covers_the_architecture_of_the_teacher(config, tmp_path):
    before = views_origin(config)
    other = tmp_path / 'other.py'
    other.write_text(
        f"_base_ = '{config.model.teacher.config}'\nmodel = dict(decode_head=dict(channels=16))"
    )
    config.model.teacher.config = str(other)
    assert views_origin(config)['model.teacher'] != before['model.teacher']


def test_unlabelled_datasets_are_those_of_every_hook(config):
    config.default_hooks.unlabelled = dict(type='mmkd.UnlabelledImagesHook', dataset=dict(a=1))
    config.custom_hooks = [dict(type='UnlabelledImagesHook', dataset=dict(b=2))]
    assert unlabelled_datasets(config) == [dict(a=1), dict(b=2)]


def test_fingerprint_of_a_function_is_its_name():
    def outer(value):
        def inner():
            return value

        return inner

    assert fingerprint([outer(1)]) == fingerprint([outer(2)])
    assert fingerprint([outer(1)]) != fingerprint([outer])
