import pytest
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler

from mmkd.config.checks.data import check_dataloaders, settle_worker_options
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


@pytest.mark.parametrize('root', [2024, 1.5, True])
def test_check_dataloaders_data_root_that_is_no_text_is_rejected(root):
    config = Config(dict(val_dataloader=dict(dataset=dict(dataset=dict(data_root=root)))))
    with pytest.raises(UserError) as error:
        check_dataloaders(config, 'val_dataloader')
    key = 'val_dataloader.dataset.dataset.data_root'
    assert str(error.value).startswith(f'{key}={root}: expected a path (str)')
    assert f'write {key}="\'{root}\'"' in str(error.value)
