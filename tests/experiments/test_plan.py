import subprocess
from pathlib import Path

import pytest

from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.experiments import plan as plan_module
from mmkd.experiments.plan import plan_runs, runs_in
from mmkd.experiments.run import load_run
from mmkd.version import __version__

ROOT = Path(__file__).resolve().parents[2]


def test_plan_runs_has_every_seed_of_every_config(tmp_path):
    runs = plan_runs(
        ['configs/ablations/fastscnn_ratio_[25]5.py', 'configs/students/fast_scnn_streets.py'],
        [0, 3], ['train_cfg.max_iters=7'], tmp_path,
    )  # fmt: skip
    names = ['fastscnn_ratio_25', 'fast_scnn_streets']
    assert [(run.name, run.seed) for run in runs] == [(n, s) for s in (0, 3) for n in names]
    assert {run.length for run in runs} == {7}
    distilled, alone = runs[:2]
    assert (distilled.distilled, alone.distilled) == (True, False)
    assert distilled.comparable == alone.comparable
    assert distilled.metric == 'mIoU'
    assert distilled.folder == tmp_path / 'fastscnn_ratio_25' / 'seed_0'
    assert [run.fingerprint for run in runs[:2]] == [run.fingerprint for run in runs[2:]]
    assert distilled.fingerprint != alone.fingerprint


@pytest.mark.parametrize('family', ['fastscnn', 'camvid', 'vmamba'])
def test_plan_runs_variants_are_comparable_to_baseline(family, tmp_path):
    runs = plan_runs([f'configs/ablations/{family}_*.py'], [0], [], tmp_path)
    assert len({run.comparable for run in runs}) == 1
    assert [run.name for run in runs if not run.distilled] == [f'{family}_alone']


@pytest.mark.parametrize(
    'option',
    [
        'model.decode_head.dropout_ratio=0.3',
        'train_cfg.max_iters=7',
        'train_dataloader.batch_size=2',
        'train_dataloader.dataset.count=9',
        'val_dataloader.dataset.count=9',
        'default_hooks.checkpoint.save_best=aAcc',
        'load_from=pretrained.pth',
        'optim_wrapper.accumulative_counts=4',
        'val_evaluator.ignore_index=3',
    ],
)
def test_plan_runs_incomparable_settings_differ_in_setup(option, tmp_path):
    student = ['configs/students/fast_scnn_streets.py']
    (usual,), (other,) = (plan_runs(student, [0], o, tmp_path) for o in ([], [option]))
    assert usual.comparable != other.comparable
    assert [key for key in usual.setup if usual.setup[key] != other.setup[key]]
    workers = [
        'train_dataloader.num_workers=1',
        'optim_wrapper.optimizer.lr=0.1',
        'val_dataloader.batch_size=2',
    ]
    (same,) = plan_runs(student, [0], workers, tmp_path)
    assert usual.comparable == same.comparable


def test_plan_runs_repeated_seed_is_one_run(tmp_path):
    (run,) = plan_runs(['configs/students/fast_scnn_streets.py'], [1, 1], [], tmp_path)
    assert run.seed == 1


def test_plan_runs_teacher_override_leaves_baseline(tmp_path):
    configs = ['configs/ablations/fastscnn_basic.py', 'configs/students/fast_scnn_streets.py']
    options = ['model.teacher.checkpoint=other.pth', 'train_cfg.max_iters=7']
    basic, alone = plan_runs(configs, [0], options, tmp_path)
    assert basic.teacher == ('configs/teachers/segformer_b0_streets.py', 'other.pth')
    assert basic.options == tuple(options)
    assert (alone.teacher, alone.options, alone.length) == (None, ('train_cfg.max_iters=7',), 7)
    for run in (basic, alone):
        run.note()
        assert load_run(run.folder) == run


def test_runs_in_training_with_validation_only_is_found(finished_run):
    run = finished_run('short', 0, 40.0)
    (log,) = run.folder.glob('*/vis_data/scalars.json')
    log.write_text(log.read_text().splitlines()[-1])
    (run.folder / 'run.json').unlink()
    load_config('configs/students/fast_scnn_streets.py').dump(run.folder / 'short.py')
    (found,) = runs_in(run.folder)
    assert found.metric == 'mIoU'


def test_runs_in_resumed_training_keeps_first_load_from(finished_run):
    def training(name, *starts):
        run = finished_run(name, 0, 40.0)
        (run.folder / 'run.json').unlink()
        for i, changes in enumerate(starts):
            config = load_config('configs/students/fast_scnn_streets.py')
            config.merge_from_dict(changes)
            copy = run.folder / f'2026010{i}_000000/vis_data/config.py'
            copy.parent.mkdir(parents=True, exist_ok=True)
            config.dump(copy)
            config.dump(run.folder / f'{name}.py')
        (found,) = runs_in(run.folder)
        return found.comparable

    pretrained = dict(load_from='pretrained.pth')
    resumed = dict(load_from='work_dirs/x/iter_10.pth', resume=True)
    expected = training('whole', pretrained)
    assert training('in_parts', {}, pretrained, resumed, resumed) == expected
    assert training('from_nothing', {}) != expected
    assert training('from_nothing_in_parts', {}, resumed) == training('nothing', {})


def test_plan_runs_changed_teacher_is_another_run(tmp_path):
    (tmp_path / 'teacher.py').write_text(
        f"_base_ = '{ROOT}/configs/teachers/segformer_b0_streets.py'\n"
    )
    options = [f'model.teacher.config={tmp_path}/teacher.py']
    (run,) = plan_runs(['configs/segformer_fastscnn_freq.py'], [0], options, tmp_path)
    run.note()
    with open(tmp_path / 'teacher.py', 'a') as file:
        file.write('train_cfg = dict(max_iters=9000)\n')
    (run,) = plan_runs(['configs/segformer_fastscnn_freq.py'], [0], options, tmp_path)
    with pytest.raises(UserError, match='seed_0 holds a run of .* before a change'):
        run.note()


def test_plan_runs_brackets_in_config_name_are_accepted(tmp_path):
    config = tmp_path / 'half[1].py'
    config.write_text(f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'")
    (run,) = plan_runs([str(config)], [0], [], tmp_path)
    assert run.name == 'half[1]'


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_plan_runs_bad_seed_raises_user_error(tmp_path, seed):
    with pytest.raises(UserError, match=rf'randomness.seed={seed}: expected an integer'):
        plan_runs(['configs/students/fast_scnn_streets.py'], [seed], [], tmp_path)


def test_plan_runs_pattern_leaves_folders_out(tmp_path):
    (tmp_path / 'inner').mkdir()
    (tmp_path / 'a.py').write_text(f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'\n")
    (run,) = plan_runs([f'{tmp_path}/*'], [0], [], tmp_path / 'work')
    assert run.name == 'a'


def test_plan_runs_pattern_without_match_raises_user_error(tmp_path):
    with pytest.raises(UserError, match=r'nothing\*\.py: expected a config file'):
        plan_runs(['nothing*.py'], [0], [], tmp_path)


def test_plan_runs_two_configs_of_one_name_are_rejected(tmp_path):
    (tmp_path / 'fast_scnn_streets.py').write_text(
        f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'"
    )
    patterns = ['configs/students/fast_scnn_streets.py', str(tmp_path / '*.py')]
    with pytest.raises(UserError, match='two configs are named fast_scnn_streets'):
        plan_runs(patterns, [0], [], tmp_path)


def test_plan_runs_automatic_metric_is_rejected(tmp_path):
    options = ['default_hooks.checkpoint.save_best=auto']
    with pytest.raises(UserError, match="save_best='auto'"):
        plan_runs(['configs/students/fast_scnn_streets.py'], [0], options, tmp_path)


@pytest.mark.parametrize(
    'option, message',
    [
        ('default_hooks.best_checkpoint=None', 'default_hooks: expected mmkd.BestCheckpointHook'),
        ('train_cfg=5', 'train_cfg=5: expected a dict'),
        ('train_cfg.max_iters=x', "train_cfg=.*'x'.*: expected .* max_epochs >= 1"),
        ('train_cfg.max_iters=-3', 'train_cfg=.*: expected .* max_iters or max_epochs >= 1'),
        ('model=5', 'model=5: expected a dict'),
        ('model=None', 'model=None: expected a dict'),
        ('default_hooks=5', 'default_hooks=5: expected a dict'),
        ('train_dataloader=None', 'expected train_dataloader; runs are compared by'),
        ('val_dataloader=None', 'expected val_dataloader; runs are compared by'),
        ('train_cfg.max_iters=None', 'train_cfg=.*: expected a dict with max_iters or max_epochs'),
        ('train_cfg.type.x=1', '--cfg-options train_cfg.type.x, .*: '),
        ('randomness.seed=3', 'randomness.seed=3: expected the seeds in --seeds'),
    ],
)
def test_plan_runs_bad_options_raise_user_error(tmp_path, option, message):
    with pytest.raises(UserError, match=message):
        plan_runs(['configs/students/fast_scnn_streets.py'], [0], [option], tmp_path)


@pytest.mark.parametrize(
    'option, message',
    [
        ('model.teacher=None', 'model.teacher=None: expected dict'),
        ('model.teacher.config=None', 'model.teacher.config: expected this key'),
        ('model.teacher.checkpoint=5', 'model.teacher.checkpoint=5: expected a path'),
        ('model.student=None', 'model.student=None: expected a dict'),
    ],
)
def test_plan_runs_bad_distillation_option_raises_user_error(tmp_path, option, message):
    with pytest.raises(UserError, match=message):
        plan_runs(['configs/segformer_fastscnn_freq.py'], [0], [option], tmp_path)


def test_plan_runs_config_without_model_raises_user_error(tmp_path):
    with pytest.raises(UserError, match=r'default_runtime\.py: expected a model'):
        plan_runs(['configs/_base_/default_runtime.py'], [0], [], tmp_path)


def test_own_commit_in_any_folder_is_mmkds(tmp_path, monkeypatch):
    def git(*args, cwd=tmp_path):
        named = ['git', '-c', 'user.email=a@b', '-c', 'user.name=a', *args]
        return subprocess.run(named, cwd=cwd, check=True, capture_output=True, text=True).stdout

    git('init', '-q')
    git('commit', '-q', '--allow-empty', '-m', 'x')
    monkeypatch.chdir(tmp_path)
    own = git('rev-parse', 'HEAD', cwd=plan_module.ROOT)
    assert own.startswith(plan_module._own_commit())
    # Installed into an environment inside of the user's repository.
    monkeypatch.setattr(plan_module, 'ROOT', tmp_path / 'site-packages')
    (tmp_path / 'site-packages').mkdir()
    assert plan_module._own_commit() == f'v{__version__}'


@pytest.mark.parametrize('rule', ['less', 'greater'])
def test_plan_runs_lists_of_one_are_their_item(tmp_path, rule):
    key = 'default_hooks.checkpoint'
    options = [f'{key}.rule=[{rule}]', f'{key}.save_best=[mIoU]']
    (run,) = plan_runs(['configs/students/fast_scnn_streets.py'], [0], options, tmp_path)
    assert (run.rule, run.metric) == (rule, 'mIoU')
    assert hash(run) and run.setup['metric'] == 'mIoU'
    run.note()
    assert load_run(run.folder) == run


@pytest.mark.parametrize(
    'option, message',
    [
        ('rule=bigger', "rule='bigger': expected 'greater' or 'less'"),
        ('rule=[less,less]', r"rule=\['less', 'less'\]: expected 'greater' or 'less'"),
        ('save_best=[mIoU,mAcc]', r"save_best=\['mIoU', 'mAcc'\]: expected the name"),
    ],
)
def test_plan_runs_rule_or_metric_that_is_none_is_rejected(tmp_path, option, message):
    options = [f'default_hooks.checkpoint.{option}']
    with pytest.raises(UserError, match=message):
        plan_runs(['configs/students/fast_scnn_streets.py'], [0], options, tmp_path)
