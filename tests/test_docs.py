"""What the documentation shows: commands, configs, code, names of files, links."""

import argparse
import ast
import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from functools import reduce
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from torch.distributed.run import get_args_parser

import mmkd_cli
from mmkd import losses
from mmkd.config.load import load_config
from mmkd.config.student import is_distillation, student_config
from mmkd.datasets import render_street
from mmkd.distillation.term import build_term
from mmkd.engine.hooks.check_num_classes_hook import check_num_classes
from mmkd.experiments.plan import plan_runs
from mmkd.registry import HOOKS, MODELS

ROOT = Path(__file__).resolve().parent.parent
SITE = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob('docs/*.md'))
PAGES = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', *SITE]
# The README's flagship has gaps; a test of its own fills them.
GAP = ', ...)'


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', (ROOT / page).read_text(), flags=re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The words of every command line, as the shell expands them."""
    lines = '\n'.join(blocks(page, 'bash')).replace('\\\n', ' ').splitlines()
    script = ''.join(f"printf '%s\\t' {line}\necho\n" for line in lines)
    words = subprocess.check_output(['bash', '-c', script], text=True).splitlines()
    return [line.split('\t')[:-1] for line in words if line.strip()]


def named_files(page: str) -> dict[str, str]:
    """The blocks whose first line names a file, by that name."""
    named = {}
    for block in blocks(page, 'python'):
        if match := re.match(r'# (\w+\.py)\n', block):
            named[match[1]] = block
    return named


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write_files(page: str) -> None:
    for name, block in named_files(page).items():
        Path(name).write_text(block)


class Parsed(Exception):  # noqa: N818  (it reports no error)
    """Ends a tool as soon as it has read its arguments."""


def arguments(monkeypatch, tool: Path, words: list[str]) -> argparse.Namespace:
    """What a tool's own parser makes of ``words``; a word that it refuses ends the test."""
    real = argparse.ArgumentParser.parse_args

    def parse(*args, **kwargs):
        raise Parsed(real(*args, **kwargs))

    assert tool.is_file(), f'there is no {tool}'
    with monkeypatch.context() as patch, pytest.raises(Parsed) as parsed:
        patch.setattr(argparse.ArgumentParser, 'parse_args', parse)
        patch.setattr(sys, 'argv', [str(tool), *words])
        runpy.run_path(str(tool), run_name='__main__')
    return parsed.value.args[0]


def check_tool(monkeypatch, tool: Path, words: list[str]) -> Path:
    """The tool, which takes ``words``; the configs among them have what is overridden."""
    args = arguments(monkeypatch, tool, words)
    options = getattr(args, 'cfg_options', None) or {}
    if tool.stem == 'ablate':
        runs = [] if args.report_only else plan_runs(args.configs, [0], options, args.work_dir)
        configs, options = [run.config for run in runs], [o.split('=')[0] for o in options]
    else:
        configs = [args.config] if hasattr(args, 'config') else getattr(args, 'configs', [])
        for name in configs:
            load_config(name)
    if tool.stem == 'distill':  # which writes the config of a later command
        student = load_config(args.student).filename
        Path(f'{Path(args.student).stem}_auto.py').write_text(f'_base_ = {student!r}\n')
    for key in options:
        assert any(has(load_config(name), key) for name in configs), f'no config has {key}'
    return tool


def has(config: Config, key: str) -> bool:
    try:
        reduce(lambda n, k: n[int(k) if isinstance(n, list) else k], key.split('.'), config)
    except (IndexError, KeyError, ValueError):
        return False
    return True


def launched(words: list[str], variables: dict[str, str], folder: Path) -> list[str]:
    """The command that a launch script ends in, by stand-ins that print what they are given."""
    (folder / 'bin').mkdir(exist_ok=True)
    for name in ('python', 'srun'):
        program = folder / 'bin' / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
    path = f'{folder}/bin:{os.environ["PATH"]}'
    environment = os.environ | variables | dict(PATH=path, PYTHON='python')
    script = [str(ROOT / words[0]), *words[1:]]
    result = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def check_command(words: list[str], folder: Path, monkeypatch) -> Path:
    """The file that decides what a command does; it takes the command's words."""
    variables = {}
    while re.fullmatch(r'[A-Z_]+=.*', words[0]):
        name, _, value = words.pop(0).partition('=')
        variables[name] = value
    match words:
        case ['source', '.venv/bin/activate'] | ['pip', 'install', '.']:
            return ROOT / 'setup.cfg'  # make env and tests/test_package.py do these
        case ['pip', 'install', extras]:
            names = re.fullmatch(r'\.\[(.+)\]', extras)[1].split(',')
            packaging = ConfigParser()
            packaging.read(ROOT / 'setup.cfg')
            assert set(names) <= set(packaging['options.extras_require'])
            return ROOT / 'setup.cfg'
        case ['make', target]:
            assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.MULTILINE)
            return ROOT / 'Makefile'
        case ['mmkd', '--help']:
            return ROOT / 'mmkd_cli.py'  # tests/test_mmkd_cli.py reads it
        case ['mmkd', name, *rest] if name in mmkd_cli.COMMANDS:
            tool = 'deploy/' * (name in ('export', 'infer')) + f'{name}.py'
            return check_tool(monkeypatch, ROOT / 'tools' / tool, rest)
        case ['python', '-m', 'mmkd', name, *rest]:
            return check_tool(monkeypatch, ROOT / 'tools' / f'{name}.py', rest)
        case ['python', '-m', 'pytest', '-m', marker, *_]:
            assert f'\n    {marker}: ' in (ROOT / 'setup.cfg').read_text()
            return ROOT / 'setup.cfg'
        case ['python', '-m', 'pytest', tests]:
            assert (ROOT / tests).is_dir()
            return ROOT / 'setup.cfg'
        case ['python', tool, *rest]:
            return check_tool(monkeypatch, ROOT / tool, rest)
        case ['torchrun', *rest]:
            launch = get_args_parser().parse_args(rest)
            assert launch.module and launch.training_script == 'mmkd'
            name, *rest = launch.training_script_args
            return check_tool(monkeypatch, ROOT / 'tools' / f'{name}.py', rest)
        case [script, *_] if script.endswith('.sh'):
            started = launched(words, variables, folder)
            if started[:3] == ['python', '-m', 'torch.distributed.run']:
                launch = get_args_parser().parse_args(started[3:])
                tool, rest = launch.training_script, launch.training_script_args
            else:
                at = started.index('python') + 2  # behind python -u
                tool, rest = started[at], started[at + 1 :]
            return check_tool(monkeypatch, Path(tool), rest)
        case _:
            pytest.fail(f'{words}: not known to this test')


@pytest.mark.parametrize('page', [page for page in PAGES if commands(page)])
def test_docs_commands_are_accepted(page, folder, monkeypatch):
    write_files(page)
    for words in commands(page):
        assert check_command(words, folder, monkeypatch).is_file()


@pytest.mark.parametrize(
    'command, complaint',
    [
        ('python tools/train.py configs/segformer_fastscnn_freq.py --resme', 'SystemExit'),
        ('python tools/train.py configs/no_such.py', 'UserError'),
        ('python tools/train.py', 'SystemExit'),
        ('python tools/tran.py configs/segformer_fastscnn_freq.py', 'AssertionError'),
        ('python -m mmkd tran configs/segformer_fastscnn_freq.py', 'AssertionError'),
        ("python tools/ablate.py 'configs/no_such_*.py'", 'UserError'),
        ('make no_such', 'AssertionError'),
        ('tools/dist_train.sh configs/no_such.py 4', 'UserError'),
        ('tools/dist_train.sh', 'AssertionError'),
        ('frobnicate', 'Failed'),
        ('mmkd tran configs/segformer_fastscnn_freq.py', 'Failed'),
        ('mmkd train configs/no_such.py', 'UserError'),
        (
            'python tools/train.py configs/segformer_fastscnn_freq.py --cfg-options model.tacher=1',
            'AssertionError',
        ),
    ],
)
def test_docs_wrong_command_is_rejected(command, complaint, folder, monkeypatch):
    with pytest.raises(BaseException) as error:  # noqa: B017, PT011  (of several kinds)
        check_command(shlex.split(command), folder, monkeypatch)
    assert error.typename == complaint


CONFIGS = [(p, name) for p in PAGES for name, text in named_files(p).items() if '_base_' in text]


@pytest.mark.parametrize('page, name', CONFIGS)
def test_docs_configs_build(page, name, folder, random_checkpoints):
    write_files(page)
    config = load_config(name)
    if is_distillation(config):
        config.model.teacher.checkpoint = random_checkpoints(config.model.teacher.config)
    if 'custom_imports' in config:
        for module in config.custom_imports.imports:
            importlib.import_module(module)
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        model = MODELS.build(config.model)
        hooks = [HOOKS.build(hook) for hook in config.get('default_hooks', {}).values()]
    assert any(p.requires_grad for p in model.parameters())
    assert all(isinstance(hook, Hook) for hook in hooks)
    dataset = config.get('train_dataloader', {}).get('dataset', {})
    check_num_classes(model, dataset.get('metainfo', {}).get('classes'))


@pytest.fixture
def trained(folder) -> None:
    """What a run leaves in its work dir, and an image."""
    config = student_config(load_config('configs/efficientnet_vmamba_pkd.py'))
    config.dump('student.py')
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict(), meta={}), 'best.pth')
    shutil.copytree('.', 'work_dirs/efficientnet_vmamba_pkd')
    cv2.imwrite('street.jpg', render_street(6, 'val', size=(96, 128)).image)


def code(page: str) -> list[str]:
    named = named_files(page).values()
    return [b for b in blocks(page, 'python') if b not in named and GAP not in b]


@pytest.mark.parametrize('page', [page for page in PAGES if code(page)])
def test_docs_terms_build_and_code_runs(page, trained, capsys):
    for block in code(page):
        first = ast.parse(block).body[0]
        names = {}
        exec(compile(block, page, 'exec'), names)
        if isinstance(first, ast.Assign) and 'loss=' in block:
            name = first.targets[0].id
            build_term(name, names[name])
    if page == 'docs/own_model.md':
        assert 'decode_head.conv_seg Conv2d' in capsys.readouterr().out


def test_docs_readme_shows_the_flagship():
    shown = {}
    block = next(b for b in blocks('README.md', 'python') if GAP in b)
    exec(re.sub(r', \.\.\.\)', ')', block), shown)
    flagship = load_config('configs/efficientnet_vmamba_pkd_camvid_new_street.py').to_dict()
    assert shown['model']['teacher'] == flagship['model']['teacher']
    assert shown['model']['distill'] == flagship['model']['distill']
    hook = flagship['default_hooks']['unlabelled']
    hook['dataset'] = dict(type=hook['dataset']['type'])
    assert shown['default_hooks'] == dict(unlabelled=hook)


@pytest.mark.parametrize('page', PAGES)
def test_docs_named_files_exist(page):
    text = (ROOT / page).read_text()
    named = re.findall(r'(?<![\w/.])((?:configs|tools|docs|mmkd)/[\w/.]+\.(?:py|sh|md|png))', text)
    named += [f'configs/{name}' for name in re.findall(r'mmkd::([\w/]+\.py)', text)]
    if page == 'README.md':  # its tables name recipes without their folder
        table = ''.join(line for line in text.splitlines() if line.startswith('|'))
        recipes = re.findall(r'`((?:ablations/)?[a-z0-9]+_[a-z0-9_]+\.py)`', table)
        assert len(recipes) > 8
        named += [f'configs/{name}' for name in recipes]
    assert [name for name in named if not (ROOT / name).is_file()] == []


def anchors(page: Path) -> set[str]:
    """What GitHub and MkDocs make of the headings."""
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', h).strip().lower().replace(' ', '-') for h in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if '://' in link:
            continue
        name, _, anchor = link.partition('#')
        target = (page.parent / name).resolve() if name else page
        inside = page.parent.name != 'docs' or target.is_relative_to(page.parent)
        if not (target.is_file() and inside) or anchor and anchor not in anchors(target):
            broken.append(link)
    return broken


@pytest.mark.parametrize('page', PAGES)
def test_docs_links_lead_somewhere(page):
    assert broken_links(ROOT / page) == []


def test_docs_broken_link_is_found(tmp_path):
    page = tmp_path / 'docs' / 'page.md'
    page.parent.mkdir()
    (tmp_path / 'outside.md').touch()
    good = "# A page's head\n[a](#a-pages-head) [b](page.md#a-pages-head) [c](https://x.org/y)\n"
    page.write_text(good + '[d](no.md) [e](#no-head) [f](page.md#no-head) [g](../outside.md)')
    assert broken_links(page) == ['no.md', '#no-head', 'page.md#no-head', '../outside.md']


def test_docs_site_has_every_page():
    shown = re.findall(r'^ +- .*: (\w+\.md)$', (ROOT / 'mkdocs.yml').read_text(), re.MULTILINE)
    assert sorted(f'docs/{name}' for name in shown) == SITE


def test_docs_explain_every_loss():
    text = (ROOT / 'docs/methods.md').read_text()
    assert [name for name in losses.__all__ if f'`{name}' not in text] == []


@pytest.mark.parametrize(
    'tool', sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob('tools/**/*.py'))
)
def test_tools_each_have_help(tool, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / tool), run_name='__main__')
    assert stop.value.code == 0 and 'usage: ' in capsys.readouterr().out
