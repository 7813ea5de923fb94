import json
import logging

import pytest
import torch
from huggingface_folder import CONFIG, random_weights, write_folder
from torch import nn

from mmkd.errors import UserError
from mmkd.openmmlab.huggingface_segformer import convert_weights, load_folder
from mmkd.teachers import build_teacher_network

SIZES = {
    'B0': dict(),
    'B2': dict(depths=(3, 4, 6, 3), hidden_sizes=(64, 128, 320, 512), decoder_hidden_size=768),
}
STEPS = ('do_rescale', 'do_normalize')


@pytest.mark.parametrize('size', SIZES)
def test_build_huggingface_folder_gives_transformers_logits(size, tmp_path):
    transformers = pytest.importorskip('transformers', reason='it is not installed')
    torch.manual_seed(0)
    config = transformers.SegformerConfig(num_labels=19, **SIZES[size])
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    for module in theirs.modules():  # nothing that a converter could forget may be 0 or 1
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
        if getattr(module, 'bias', None) is not None:
            nn.init.normal_(module.bias, std=0.1)
    theirs.save_pretrained(tmp_path)
    built = build_teacher_network(dict(huggingface=str(tmp_path)))
    images = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        expected = theirs(pixel_values=images).logits
        ours = built.network.eval()(images, mode='tensor')
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.01
    assert built.classes is None, 'LABEL_0 is a number, not a name'


def test_build_huggingface_folder_reads_classes_and_normalisation(tmp_path):
    write_folder(tmp_path)
    processor = dict(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(processor))
    built = build_teacher_network(dict(huggingface=str(tmp_path)))
    assert built.classes == ['road', 'Side-Walk', 'car']
    assert built.preprocessor['mean'] == pytest.approx([25.5, 51.0, 76.5])
    assert built.preprocessor['std'] == pytest.approx([102.0, 127.5, 153.0])
    assert built.preprocessor['bgr_to_rgb']


def test_build_huggingface_folder_opens_pytorch_model_bin(tmp_path):
    write_folder(tmp_path / 'new')
    old = tmp_path / 'old'
    old.mkdir()
    (old / 'config.json').write_text(json.dumps(CONFIG))
    torch.save(random_weights(), old / 'pytorch_model.bin')
    new, old = (
        build_teacher_network(dict(huggingface=str(folder))).network.state_dict()
        for folder in (tmp_path / 'new', old)
    )
    assert all(torch.equal(value, old[name]) for name, value in new.items())


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            dict(architectures=['Mask2FormerForUniversalSegmentation']),
            'its architecture is Mask2FormerForUniversalSegmentation: expected Segformer',
        ),
        (
            dict(architectures=['SegformerForImageClassification']),
            'its architecture is SegformerForImageClassification: expected Segformer',
        ),
        (dict(mlp_ratios=[4, 4, 4, 2]), r'mlp_ratios=\[4, 4, 4, 2\]: expected \[4, 4, 4, 4\]'),
        (dict(hidden_sizes=[8, 16, 40, 48]), r'hidden_sizes=.*: expected \[8, 16, 40, 64\]'),
        (dict(hidden_act='relu'), "hidden_act='relu': expected 'gelu'"),
    ],
)
def test_load_folder_of_another_network_raises_user_error(tmp_path, changes, message):
    write_folder(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as error:
        load_folder(tmp_path)
    assert '\n' not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    'changes',
    [
        dict(num_attention_heads=1),
        dict(num_attention_heads=[0, 2, 5, 8]),
        dict(hidden_sizes=['8', '16', '40', '64']),
        dict(depths=None),
        dict(mlp_ratios=[]),
        dict(id2label=['road', 'car']),
        dict(id2label={'0': 'road', '2': 'car'}),
    ],
)
def test_load_folder_values_of_other_types_raise_user_error(tmp_path, changes):
    write_folder(tmp_path, random_weights(), **changes)
    with pytest.raises(UserError, match='config.json') as error:
        load_folder(tmp_path)
    assert '\n' not in str(error.value) and str(tmp_path) in str(error.value)


def test_build_huggingface_folder_of_sizes_that_do_not_fit_raises_user_error(tmp_path):
    write_folder(tmp_path, random_weights(), depths=[1])
    with pytest.raises(UserError, match='config.json: expected sizes of a SegFormer'):
        build_teacher_network(dict(huggingface=str(tmp_path)))


@pytest.mark.parametrize('options', [{}, *({key: False} for key in STEPS), dict(rescale_factor=2)])
def test_load_folder_preprocessor_normalises_as_it_says(tmp_path, options):
    mean, std, image = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4], torch.tensor([10.0, 20.0, 30.0])
    facts = dict(image_mean=mean, image_std=std, **options)
    (write_folder(tmp_path) / 'preprocessor_config.json').write_text(json.dumps(facts))
    # The definition, as SegformerImageProcessor documents it.
    expected = image
    if options.get('do_rescale', True):
        expected = expected * options.get('rescale_factor', 1 / 255)
    if options.get('do_normalize', True):
        expected = (expected - torch.tensor(mean)) / torch.tensor(std)
    found = load_folder(tmp_path).model['data_preprocessor']
    torch.testing.assert_close(
        (image - torch.tensor(found['mean'])) / torch.tensor(found['std']), expected
    )


def test_load_folder_without_a_key_raises_user_error(tmp_path):
    write_folder(tmp_path)
    config = {key: value for key, value in CONFIG.items() if key != 'depths'}
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(UserError, match="config.json: expected the key 'depths'"):
        load_folder(tmp_path)
    (tmp_path / 'config.json').write_text('{')
    with pytest.raises(UserError, match='config.json: expected JSON'):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda w: w.pop('decode_head.linear_c.2.proj.bias'),
            'decode_head.linear_c.2.proj.bias is missing',
        ),
        (
            lambda w: w.pop('segformer.encoder.block.1.0.attention.self.key.bias'),
            'segformer.encoder.block.1.0.attention.self.key.bias is missing',
        ),
        (
            lambda w: w.update(extra=w.pop('segformer.encoder.block.0.0.layer_norm_1.weight')),
            'missing, such as backbone.layers.0.1.0.norm1.weight; it holds extra instead',
        ),
        (
            lambda w: w.update({'segformer.encoder.block.0.1.mlp.dense1.bias': torch.ones(32)}),
            'such as backbone.layers.0.1.1.ffn.layers.0.bias; check its depth',
        ),
        (
            lambda w: w.update({'decode_head.classifier.bias': torch.ones(9)}),
            r'decode_head.conv_seg.bias is \(9,\) in the file but \(3,\)',
        ),
    ],
)
def test_build_huggingface_folder_with_misfit_names_keys(tmp_path, change, message):
    weights = random_weights()
    change(weights)
    write_folder(tmp_path, weights)
    with pytest.raises(UserError, match=message) as error:
        build_teacher_network(dict(huggingface=str(tmp_path)))
    assert f'model.teacher.huggingface={tmp_path}/model.safetensors' in str(error.value)


def test_build_huggingface_folder_without_weights_raises_user_error(tmp_path):
    write_folder(tmp_path)
    (tmp_path / 'model.safetensors').unlink()
    with pytest.raises(UserError, match='model.safetensors does not exist: expected weights'):
        build_teacher_network(dict(huggingface=str(tmp_path)))
    with pytest.raises(UserError, match='expected a folder with config.json'):
        build_teacher_network(dict(huggingface=str(tmp_path / 'none')))


def test_convert_weights_uses_each_name_once():
    converted = convert_weights(random_weights(), 'file')
    count = sum(value.numel() for value in random_weights().values())
    added = 3 * 4 * CONFIG['decoder_hidden_size']  # three constants of four batch norms
    assert sum(value.numel() for value in converted.values()) == count + added
    assert not [name for name in converted if name.startswith('segformer')]


@pytest.fixture(autouse=True)
def quiet_transformers():
    logging.getLogger('transformers').setLevel(logging.ERROR)
