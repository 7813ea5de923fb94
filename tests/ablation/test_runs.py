from dataclasses import replace
from pathlib import Path

import pytest

from mmkd.ablation.runs import find_runs, plan_runs, read_run, runs_in
from mmkd.configs import load_config
from mmkd.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_plan_takes_every_seed_of_every_config_and_its_options(tmp_path):
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
def test_every_variant_is_comparable_to_the_student_alone(family, tmp_path):
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
    ],
)
def test_what_a_gain_is_not_measured_across(option, tmp_path):
    student = ['configs/students/fast_scnn_streets.py']
    (usual,), (other,) = (plan_runs(student, [0], o, tmp_path) for o in ([], [option]))
    assert usual.comparable != other.comparable
    workers = ['train_dataloader.num_workers=1', 'optim_wrapper.optimizer.lr=0.1']
    (same,) = plan_runs(student, [0], workers, tmp_path)
    assert usual.comparable == same.comparable


def test_a_seed_given_twice_is_one_run(tmp_path):
    (run,) = plan_runs(['configs/students/fast_scnn_streets.py'], [1, 1], [], tmp_path)
    assert run.seed == 1


def test_an_override_of_the_teacher_leaves_the_undistilled_student_alone(tmp_path):
    configs = ['configs/ablations/fastscnn_basic.py', 'configs/students/fast_scnn_streets.py']
    options = ['model.teacher.checkpoint=other.pth', 'train_cfg.max_iters=7']
    basic, alone = plan_runs(configs, [0], options, tmp_path)
    assert basic.teacher == ('configs/teachers/segformer_b0_streets.py', 'other.pth')
    assert basic.options == tuple(options)
    assert (alone.teacher, alone.options, alone.length) == (None, ('train_cfg.max_iters=7',), 7)
    for run in (basic, alone):
        run.note()
        assert read_run(run.folder) == run


def test_a_run_is_read_back_as_it_was_noted(tmp_path):
    (run,) = plan_runs(['configs/students/fast_scnn_streets.py'], [1], ['a.b=[1,2]'], tmp_path)
    run.note()
    assert read_run(run.folder) == run
    assert find_runs(tmp_path) == [run]


def test_the_commits_that_trained_a_run_are_noted(finished_run):
    run = finished_run('kd', 0, 40.0)
    replace(run, commit='abd').note_commit()  # nothing is left of what the first one trained
    assert read_run(run.folder).commit == 'abd'
    (run.folder / 'iter_10.pth').touch()
    (run.folder / 'last_checkpoint').write_text(str(run.folder / 'iter_10.pth'))
    for commit in ('abd', 'abe', 'abe'):
        replace(run, commit=commit).note_commit()
    assert read_run(run.folder) == replace(run, commit='abd abe')


def test_a_folder_of_another_config_is_not_mixed_up(tmp_path):
    (run,) = plan_runs(['configs/students/fast_scnn_streets.py'], [0], [], tmp_path)
    run.note()
    run.note()
    with pytest.raises(UserError, match='seed_0 holds a run of .* before a change'):
        replace(run, fingerprint='another').note()


def test_the_seeds_of_two_configs_are_not_mixed_up(tmp_path):
    student = ['configs/students/fast_scnn_streets.py']
    (first,) = plan_runs(student, [0], [], tmp_path)
    (second,) = plan_runs(student, [1], [], tmp_path)
    (changed,) = plan_runs(student, [2], ['optim_wrapper.optimizer.lr=0.1'], tmp_path)
    first.note()
    second.note()
    with pytest.raises(UserError, match='seed_0 holds a run of .* before a change'):
        changed.note()
    assert not changed.folder.exists()


def test_a_note_of_another_version_is_refused(tmp_path):
    (run,) = plan_runs(['configs/students/fast_scnn_streets.py'], [0], [], tmp_path)
    run.note()
    note = run.folder / 'run.json'
    note.write_text(note.read_text().replace('"comparable"', '"student"'))
    with pytest.raises(UserError, match='run.json is of another version of mmkd'):
        read_run(run.folder)


def test_a_training_too_short_to_be_logged_is_one(finished_run):
    run = finished_run('short', 0, 40.0)
    (log,) = run.folder.glob('*/vis_data/scalars.json')
    log.write_text(log.read_text().splitlines()[-1])
    (run.folder / 'run.json').unlink()
    load_config('configs/students/fast_scnn_streets.py').dump(run.folder / 'short.py')
    (found,) = runs_in(run.folder)
    assert found.metric == 'mIoU'


def test_a_resumed_training_is_compared_by_the_weights_that_it_began_with(finished_run):
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


def test_a_run_without_a_checkpoint_is_named(finished_run):
    run = finished_run('kd', 0, 40.0)
    with pytest.raises(UserError, match='seed_0 holds no checkpoint'):
        print(run.last_checkpoint)


def test_another_teacher_at_the_same_path_is_another_run(tmp_path):
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


def test_a_config_may_have_brackets_in_its_name(tmp_path):
    config = tmp_path / 'half[1].py'
    config.write_text(f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'")
    (run,) = plan_runs([str(config)], [0], [], tmp_path)
    assert run.name == 'half[1]'


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_named(tmp_path, seed):
    with pytest.raises(UserError, match=rf'randomness.seed={seed}; allowed: a whole number'):
        plan_runs(['configs/students/fast_scnn_streets.py'], [seed], [], tmp_path)


def test_no_match_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r'no config matches nothing\*\.py'):
        plan_runs(['nothing*.py'], [0], [], tmp_path)


def test_two_configs_of_one_name_are_refused(tmp_path):
    (tmp_path / 'fast_scnn_streets.py').write_text(
        f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'"
    )
    patterns = ['configs/students/fast_scnn_streets.py', str(tmp_path / '*.py')]
    with pytest.raises(UserError, match='two configs are named fast_scnn_streets'):
        plan_runs(patterns, [0], [], tmp_path)


def test_a_metric_must_be_named(tmp_path):
    options = ['default_hooks.checkpoint.save_best=auto']
    with pytest.raises(UserError, match="save_best='auto'"):
        plan_runs(['configs/students/fast_scnn_streets.py'], [0], options, tmp_path)


@pytest.mark.parametrize(
    'option, message',
    [
        ('default_hooks.best_checkpoint=None', 'default_hooks needs mmkd.BestCheckpointHook'),
        ('train_cfg=5', 'train_cfg=5; allowed: a dict'),
        ('train_cfg.max_iters=x', "train_cfg=.*'x'.*; allowed: .* max_epochs, 1 or more"),
        ('train_cfg.max_iters=-3', 'train_cfg=.*; allowed: .* max_iters or max_epochs, 1 or more'),
        ('model=5', 'model=5; allowed: a dict'),
        ('model=None', 'model=None; allowed: a dict'),
        ('default_hooks=5', 'default_hooks=5; allowed: a dict'),
        ('train_dataloader=None', 'has no train_dataloader; runs are compared by'),
        ('val_dataloader=None', 'has no val_dataloader; runs are compared by'),
        ('train_cfg.max_iters=None', 'train_cfg=.*; allowed: a dict with max_iters or max_epochs'),
        ('train_cfg.type.x=1', '--cfg-options train_cfg.type.x, .* do not fit'),
        ('randomness.seed=3', "randomness.seed=3: an ablation's seeds are those of --seeds"),
    ],
)
def test_what_no_run_could_end_with_is_named(tmp_path, option, message):
    with pytest.raises(UserError, match=message):
        plan_runs(['configs/students/fast_scnn_streets.py'], [0], [option], tmp_path)


@pytest.mark.parametrize(
    'option, message',
    [
        ('model.teacher=None', 'model.teacher=None; allowed: dict'),
        ('model.teacher.config=None', 'model.teacher.config is missing'),
        ('model.teacher.checkpoint=5', 'model.teacher.checkpoint=5; allowed: a path'),
        ('model.student=None', 'model.student=None; allowed: a dict'),
    ],
)
def test_what_no_run_could_learn_from_is_named(tmp_path, option, message):
    with pytest.raises(UserError, match=message):
        plan_runs(['configs/segformer_fastscnn_freq.py'], [0], [option], tmp_path)


def test_a_config_without_a_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r'default_runtime\.py has no model'):
        plan_runs(['configs/_base_/default_runtime.py'], [0], [], tmp_path)
