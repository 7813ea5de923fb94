import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mmkd.errors import UserError
from mmkd.experiments.plan import plan_runs
from mmkd.experiments.run import find_runs, load_run

ROOT = Path(__file__).resolve().parents[2]


def test_load_run_equals_noted_run(tmp_path):
    (run,) = plan_runs(
        ['configs/students/fast_scnn_streets.py'], [1], ['env_cfg.b=[1,2]'], tmp_path
    )
    run.note()
    assert load_run(run.folder) == run
    assert find_runs(tmp_path) == [run]


def test_note_commit_adds_commits_that_trained(finished_run):
    run = finished_run('kd', 0, 40.0)
    replace(run, commit='abd').note_commit()  # nothing is left of what the first one trained
    assert load_run(run.folder).commit == 'abd'
    (run.folder / 'iter_10.pth').touch()
    (run.folder / 'last_checkpoint').write_text(str(run.folder / 'iter_10.pth'))
    for commit in ('abd', 'abe', 'abe'):
        replace(run, commit=commit).note_commit()
    assert load_run(run.folder) == replace(run, commit='abd abe')


def test_note_folder_of_another_config_raises_user_error(tmp_path):
    (run,) = plan_runs(['configs/students/fast_scnn_streets.py'], [0], [], tmp_path)
    run.note()
    run.note()
    with pytest.raises(UserError, match='seed_0 holds a run of .* before a change'):
        replace(run, fingerprint='another').note()


def test_note_beside_a_copied_seed_raises_user_error(tmp_path):
    first, second = plan_runs(['configs/students/fast_scnn_streets.py'], [0, 1], [], tmp_path)
    first.note()
    shutil.copytree(first.folder, second.folder)
    for use in (second.note, lambda: find_runs(tmp_path)):
        with pytest.raises(
            UserError, match='seed_1: expected a run of the seed in the name, .* of seed 0'
        ):
            use()


def test_note_seeds_of_changed_config_raise_user_error(tmp_path):
    student = ['configs/students/fast_scnn_streets.py']
    (first,) = plan_runs(student, [0], [], tmp_path)
    (second,) = plan_runs(student, [1], [], tmp_path)
    (changed,) = plan_runs(student, [2], ['optim_wrapper.optimizer.lr=0.1'], tmp_path)
    first.note()
    second.note()
    with pytest.raises(UserError, match='seed_0 holds a run of .* before a change'):
        changed.note()
    assert not changed.folder.exists()


def test_load_run_note_of_another_version_is_rejected(tmp_path):
    (run,) = plan_runs(['configs/students/fast_scnn_streets.py'], [0], [], tmp_path)
    run.note()
    note = run.folder / 'run.json'
    note.write_text(note.read_text().replace('"comparable"', '"student"'))
    with pytest.raises(UserError, match='run.json is of another version of mmkd'):
        load_run(run.folder)


def test_last_checkpoint_of_run_without_one_raises_user_error(finished_run):
    run = finished_run('kd', 0, 40.0)
    with pytest.raises(UserError, match='seed_0: expected a checkpoint'):
        print(run.last_checkpoint)


MARKUP = '<b>x</b>'


@pytest.mark.parametrize(
    'key, value',
    [
        ('length', MARKUP), ('length', True), ('length', 0), ('length', float('inf')),
        ('seed', MARKUP), ('seed', 1.5), ('metric', 3), ('config', None), ('options', MARKUP),
        ('options', [1]), ('teacher', ['a']), ('by_epoch', MARKUP), ('commit', {}),
        ('rule', MARKUP),
    ],
)  # fmt: skip
def test_load_run_note_of_other_types_is_rejected(finished_run, key, value):
    run = finished_run('a', 0, 1.0)
    note = run.folder / 'run.json'
    note.write_text(json.dumps(json.loads(note.read_text()) | {key: value}))
    with pytest.raises(UserError, match=rf'run.json: {key}=.*: expected'):
        load_run(run.folder)


@pytest.mark.parametrize('text', ['', '{', '[1]', 'null'])
def test_load_run_note_that_is_not_json_is_rejected(finished_run, text):
    run = finished_run('a', 0, 1.0)
    (run.folder / 'run.json').write_text(text)
    with pytest.raises(UserError, match='run.json'):
        load_run(run.folder)


def test_load_run_note_without_rule_has_that_of_its_metric(finished_run):
    run = finished_run('a', 0, 1.0)
    note = run.folder / 'run.json'
    facts = json.loads(note.read_text())
    del facts['rule']
    for metric, rule in (('mIoU', 'greater'), ('val_loss', 'less'), ('my_score', 'greater')):
        note.write_text(json.dumps(facts | dict(metric=metric)))
        assert load_run(run.folder).rule == rule


@pytest.mark.parametrize('rule, best', [('greater', 5.0), ('less', 2.0)])
def test_run_best_follows_the_rule(finished_run, rule, best):
    run = replace(finished_run('a', 0, 1.0), rule=rule)
    assert run.best([3.0, 2.0, 5.0, float('nan')]) == best
