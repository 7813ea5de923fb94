from contextlib import nullcontext

import pytest
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmseg.registry import VISBACKENDS

from mmkd.config import checks
from mmkd.config.checks import (
    check_accumulation,
    check_best_metric,
    check_checkpoint_keys,
    check_class_weights,
    check_dataloaders,
    check_kept_checkpoints,
    check_log_level,
    check_loops,
    check_metric_reported,
    check_optimizer,
    check_sections,
    check_visualizer,
    settle_worker_options,
)
from mmkd.errors import UserError

SEEDED = 'mmkd.SeededInfiniteSampler'


@pytest.mark.parametrize('loop', [dict(type='EpochBasedTrainLoop'), dict(by_epoch=True)])
@pytest.mark.parametrize('sampler', [SEEDED, 'InfiniteSampler', InfiniteSampler])
def test_check_dataloaders_epoch_loop_with_endless_sampler_is_rejected(loop, sampler):
    config = Config(
        dict(train_cfg=dict(loop, max_epochs=3), train_dataloader=dict(sampler=dict(type=sampler)))
    )
    with pytest.raises(UserError, match=r'train_dataloader.sampler.type=\w*InfiniteSampler: exp'):
        check_dataloaders(config, 'train_dataloader')


def test_check_dataloaders_validation_with_endless_sampler_is_rejected():
    config = Config(dict(val_cfg=dict(), val_dataloader=dict(sampler=dict(type=SEEDED))))
    with pytest.raises(UserError, match='val_dataloader.sampler.type=SeededInfiniteSampler'):
        check_dataloaders(config, 'val_dataloader')


@pytest.mark.parametrize(
    'loop, accepted',
    [
        (dict(type='IterBasedTrainLoop', max_iters=3), True),
        (dict(by_epoch=False, max_iters=3), True),
        (dict(by_epoch=True, max_epochs=3), False),
    ],
)
def test_check_dataloaders_endless_sampler_is_accepted_by_iteration_loops_only(loop, accepted):
    config = Config(dict(train_cfg=loop, train_dataloader=dict(sampler=dict(type=SEEDED))))
    try:
        check_dataloaders(config, 'train_dataloader')
    except UserError as error:
        assert not accepted and 'train_dataloader.sampler.type' in str(error)
    else:
        assert accepted


@pytest.mark.parametrize('value', [-0.1, float('nan'), float('inf')])
@pytest.mark.parametrize('key', ['lr', 'weight_decay'])
def test_check_optimizer_bad_number_is_rejected(key, value):
    config = Config(dict(optim_wrapper=dict(optimizer=dict(type='AdamW', **{key: value}))))
    with pytest.raises(UserError, match=rf'optim_wrapper.optimizer.{key}=.*: expected a finite'):
        check_optimizer(config)


@pytest.mark.parametrize('counts', [0, -2, 1.5, True, '2'])
def test_check_optimizer_bad_accumulative_counts_is_rejected(counts):
    with pytest.raises(UserError, match='accumulative_counts=.*: expected an integer'):
        check_optimizer(Config(dict(optim_wrapper=dict(accumulative_counts=counts))))


@pytest.mark.parametrize(
    'options, message',
    [
        ({'val_evaluator': None}, 'val_evaluator=None: expected all of val_dataloader, val_cfg'),
        ({'val_cfg': None, 'val_evaluator': None}, 'val_cfg=None: expected all of'),
        ({'optim_wrapper': None}, 'optim_wrapper=None: expected all of train_dataloader'),
        ({'test_evaluator': None}, 'test_evaluator=None: expected all of test_dataloader'),
        ({'train_cfg.val_interval': 0}, 'train_cfg.val_interval=0: expected an integer >= 1'),
        ({'train_cfg.max_iters': 0}, 'train_cfg.max_iters=0: expected an integer >= 1'),
        ({'train_cfg.max_iters': '2'}, "train_cfg.max_iters='2': expected an integer >= 1"),
        ({'train_cfg.max_iters': 2.5}, 'train_cfg.max_iters=2.5: expected an integer >= 1'),
        ({'default_hooks.checkpoint.interval': '2'}, "checkpoint.interval='2': expected an int"),
        ({'default_hooks.logger.interval': 1.5}, 'logger.interval=1.5: expected an integer'),
        ({'default_hooks.logger.interval': 0}, 'logger.interval=0: expected an integer >= 1'),
        ({'train_cfg.val_begin': 'foo'}, "train_cfg.val_begin='foo': expected an integer >= 0"),
    ],
)
def test_check_loops_missing_parts_and_lengths_are_rejected(recipe, options, message):
    check_loops(recipe)
    for key, value in options.items():
        recipe.merge_from_dict({key: value})
    with pytest.raises(UserError, match=message):
        check_loops(recipe)


@pytest.mark.parametrize(
    'backends, message',
    [
        ([dict(type='Foo')], 'vis_backends.0.type=Foo: expected one of .*LocalVisBackend'),
        (dict(type='LocalVisBackend'), 'vis_backends=.*: expected a list of dicts'),
        (['LocalVisBackend'], 'vis_backends=.*: expected a list of dicts'),
    ],
)
def test_check_visualizer_unknown_backend_is_rejected(backends, message):
    with pytest.raises(UserError, match=message):
        check_visualizer(Config(dict(visualizer=dict(vis_backends=backends))))


def test_check_visualizer_takes_a_backend_of_the_configs_library():
    own = type('OwnBackend', (), {})
    VISBACKENDS.module_dict['OwnBackend'] = own
    try:
        check_visualizer(
            Config(
                dict(default_scope='mmseg', visualizer=dict(vis_backends=[dict(type='OwnBackend')]))
            )
        )
    finally:
        del VISBACKENDS.module_dict['OwnBackend']


@pytest.mark.parametrize(
    'key',
    ['env_cfg.mp_cfg', 'train_dataloader.dataset', 'val_dataloader.sampler', 'visualizer'],
)
def test_check_sections_of_another_type_are_rejected(recipe, key):
    check_sections(recipe)
    recipe.merge_from_dict({key: 3})
    with pytest.raises(UserError, match=f'^{key}=3: expected a dict'):
        check_sections(recipe)


def test_check_sections_default_scope_is_a_name(recipe):
    recipe.default_scope = 3
    with pytest.raises(UserError, match='default_scope=3: expected the name of a library'):
        check_sections(recipe)


def test_check_optimizer_clip_grad_that_is_a_number_is_rejected(recipe):
    recipe.optim_wrapper.clip_grad = 1
    with pytest.raises(UserError, match='optim_wrapper.clip_grad=1: expected a dict'):
        check_optimizer(recipe)


@pytest.mark.parametrize('level', ['DEBUGG', 'debug', None, 1.0])
def test_check_log_level_unknown_is_rejected(level):
    with pytest.raises(UserError, match=f'log_level={level!r}: expected one of .*INFO'):
        check_log_level(Config(dict(log_level=level)))


@pytest.mark.parametrize('known', [dict(), dict(log_level='WARNING'), dict(log_level=10)])
def test_check_log_level_known_is_accepted(known):
    check_log_level(Config(known))


def test_check_checkpoint_keys_unknown_is_rejected(recipe):
    check_checkpoint_keys(recipe)
    recipe.default_hooks.checkpoint.intervall = 3
    message = 'checkpoint.intervall=3: expected a key of CheckpointHook; did you mean interval?'
    with pytest.raises(UserError, match=message):
        check_checkpoint_keys(recipe)


@pytest.mark.parametrize(
    'best, reported, accepted',
    [
        ('mIoU', {'mIoU', 'aAcc'}, True),
        (['val/mIoU'], {'val/mIoU'}, True),
        ('auto', {'mIoU'}, True),
        (None, {'mIoU'}, True),
        ('mIOU', {}, True),  # nothing is known
        ('mIOU', {'mIoU'}, False),
        ('mIoU', {'val/mIoU'}, False),
    ],
)
def test_check_metric_reported_names_what_is(best, reported, accepted):
    config = Config(dict(default_hooks=dict(checkpoint=dict(save_best=best))))
    if accepted:
        check_metric_reported(config, reported)
    else:
        with pytest.raises(UserError, match=f'save_best={best!r}: expected one of '):
            check_metric_reported(config, reported)


def test_check_loops_without_validation_is_accepted(recipe):
    recipe.merge_from_dict(dict(val_dataloader=None, val_cfg=None, val_evaluator=None))
    check_loops(recipe)


@pytest.mark.parametrize(
    'kind, device, other, expected',
    [
        ('AmpOptimWrapper', 'cuda', 'cpu', "'mmkd.CpuAmpOptimWrapper' on 'cpu'; set that$"),
        ('AmpOptimWrapper', 'npu', 'mps', "'OptimWrapper' on 'mps'; set that and leave out --amp$"),
        ('mmkd.CpuAmpOptimWrapper', 'cpu', 'cuda', "'AmpOptimWrapper' on 'cuda'; set that$"),
        ('mmkd.CpuAmpOptimWrapper', 'cpu', 'mps', "'OptimWrapper' on 'mps'; set that and"),
    ],
)
def test_check_optimizer_mixed_precision_is_for_some_devices(
    monkeypatch, kind, device, other, expected
):
    config = Config(dict(optim_wrapper=dict(type=kind, optimizer=dict(type='SGD'))))
    monkeypatch.setattr(checks, 'get_device', lambda: device)
    check_optimizer(config)
    monkeypatch.setattr(checks, 'get_device', lambda: other)
    with pytest.raises(
        UserError, match=f'optim_wrapper.type={kind.split(".")[-1]}: expected {expected}'
    ):
        check_optimizer(config)


@pytest.mark.parametrize('device', ['cpu', 'cuda', 'mps', 'xpu'])
def test_check_optimizer_without_mixed_precision_is_accepted_everywhere(monkeypatch, device):
    monkeypatch.setattr(checks, 'get_device', lambda: device)
    check_optimizer(Config(dict(optim_wrapper=dict(type='OptimWrapper'))))


def test_check_visualizer_missing_package_is_rejected(monkeypatch):
    monkeypatch.setattr(checks, 'find_spec', lambda name: None)
    config = Config(dict(visualizer=dict(vis_backends=[dict(type='LocalVisBackend')])))
    check_visualizer(config)
    config.visualizer.vis_backends.append(dict(type='mmengine.WandbVisBackend'))
    with pytest.raises(UserError, match='vis_backends.1.type=WandbVisBackend: expected wandb'):
        check_visualizer(config)


def test_check_library_without_mmpretrain_raises_user_error(monkeypatch):
    config = Config(dict(default_scope='mmpretrain'))
    monkeypatch.setattr(checks, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"default_scope='mmpretrain': .* install 'mmkd\[cla"):
        checks.check_library(config)
    checks.check_library(Config(dict(default_scope='mmdet')))


def test_settle_worker_options_without_workers_drops_them():
    loader = dict(num_workers=0, persistent_workers=True, prefetch_factor=4, batch_size=2)
    config = Config(dict(train_dataloader=loader, val_dataloader=dict(loader, num_workers=1)))
    settle_worker_options(config)
    assert config.train_dataloader == dict(num_workers=0, batch_size=2)
    assert config.val_dataloader.persistent_workers


@pytest.mark.parametrize('wrap', [lambda data: data, lambda data: dict(dataset=data, times=2)])
def test_check_dataloaders_empty_pipeline_is_rejected(wrap):
    config = Config(dict(train_dataloader=dict(dataset=wrap(dict(pipeline=[])))))
    with pytest.raises(UserError, match=r'train_dataloader.dataset.pipeline=\[\]: expected trans'):
        check_dataloaders(config, 'train_dataloader')
    mixed = dict(dataset=dict(pipeline=[]), pipeline=[dict(type='PackDetInputs')])
    check_dataloaders(Config(dict(train_dataloader=dict(dataset=mixed))), 'train_dataloader')
    check_dataloaders(Config(dict(train_dataloader=dict(dataset=dict()))), 'train_dataloader')


def with_checkpoint_hook(counts=1, val_interval=4, **hook) -> Config:
    checkpoint = dict(type='CheckpointHook', **hook)
    hooks = dict(checkpoint=checkpoint, best=dict(type='mmkd.BestCheckpointHook'))
    return Config(
        dict(
            default_hooks=hooks,
            optim_wrapper=dict(accumulative_counts=counts),
            train_cfg=dict(val_interval=val_interval),
        )
    )


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(by_epoch=True), 'checkpoint.by_epoch=True: expected False'),
        (dict(interval=3), 'checkpoint.interval=3: expected a multiple of'),
        (dict(val_interval=5, save_best='mIoU'), 'train_cfg.val_interval=5: expected a multiple'),
        (dict(val_interval=5), None),
        (dict(interval=4), None),
    ],
)
def test_check_accumulation_checkpoint_amid_accumulation_is_rejected(changes, message):
    config = with_checkpoint_hook(**dict(counts=2, by_epoch=False, interval=2) | changes)
    with pytest.raises(UserError, match=message) if message else nullcontext():
        assert check_accumulation(config) is None


@pytest.mark.parametrize('kept, accepted', [(1, False), (2, True), (-1, True)])
def test_check_kept_checkpoints_one_is_rejected(kept, accepted):
    message = 'max_keep_ckpts=1: expected an integer >= 2'
    with nullcontext() if accepted else pytest.raises(UserError, match=message):
        assert check_kept_checkpoints(with_checkpoint_hook(max_keep_ckpts=kept)) is None


@pytest.mark.parametrize('metric, accepted', [(['mIoU', 'aAcc'], False), (['mIoU'], True)])
def test_check_best_metric_several_are_rejected(metric, accepted):
    with nullcontext() if accepted else pytest.raises(UserError, match='expected one metric'):
        assert check_best_metric(with_checkpoint_hook(save_best=metric)) is None


def segmentor(**loss) -> dict:
    head = dict(num_classes=3, loss_decode=dict(type='CrossEntropyLoss'))
    auxiliary = dict(num_classes=3, loss_decode=[dict(type='DiceLoss'), loss])
    return dict(decode_head=head, auxiliary_head=[auxiliary])


def detector(**loss) -> dict:
    return dict(roi_head=dict(bbox_head=dict(num_classes=3, loss_cls=loss)))


@pytest.mark.parametrize('distils', [False, True])
@pytest.mark.parametrize(
    'network, message',
    [
        (
            segmentor(class_weight=[1.0, 2.0]),
            r'auxiliary_head.0.loss_decode.1.class_weight=\[1.0, 2.0\]: expected 3 numbers, one a ',
        ),
        (
            detector(class_weight=[1.0] * 3),
            r'roi_head.bbox_head.loss_cls.class_weight=.*: expected 4 numbers, one a class \(3\) ',
        ),
        (
            detector(class_weight=[1.0] * 4, use_sigmoid=True),
            'roi_head.bbox_head.loss_cls.class_weight=.*: expected 3 numbers, one a class; ',
        ),
    ],
)
def test_check_class_weights_of_another_length_are_rejected(network, message, distils):
    model, key = (
        (dict(student=network, type='mmkd.Distiller'), 'model.student.')
        if distils
        else (network, 'model.')
    )
    with pytest.raises(UserError, match=f'^{key}{message}'):
        check_class_weights(Config(dict(model=model)))


@pytest.mark.parametrize(
    'network',
    [
        segmentor(class_weight=[1.0] * 3),
        dict(head=dict(num_classes=3, loss=dict(type='CrossEntropyLoss', class_weight=[1.0] * 3))),
        segmentor(class_weight=None),
        segmentor(class_weight='weights.npy'),
        detector(class_weight=[1.0] * 4),
        detector(class_weight=0.1),
        detector(class_weight=[1.0] * 3, use_sigmoid=True),
    ],
)
def test_check_class_weights_that_fit_are_accepted(network):
    check_class_weights(Config(dict(model=network)))


@pytest.mark.parametrize('root', [2024, 1.5, True])
def test_check_dataloaders_data_root_that_is_no_text_is_rejected(root):
    config = Config(dict(val_dataloader=dict(dataset=dict(dataset=dict(data_root=root)))))
    with pytest.raises(UserError) as error:
        check_dataloaders(config, 'val_dataloader')
    key = 'val_dataloader.dataset.dataset.data_root'
    assert str(error.value).startswith(f'{key}={root}: expected a path (str)')
    assert f'write {key}="\'{root}\'"' in str(error.value)
