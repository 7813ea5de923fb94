"""What the documentation shows is run, from an empty folder."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmkd.configs import load_config
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', (ROOT / page).read_text(), flags=re.DOTALL)


def test_own_loss_trains(tmp_path, monkeypatch, teacher_files):
    code, config = blocks('docs/own_loss.md', 'python')
    (tmp_path / 'my_losses.py').write_text(code)
    (tmp_path / 'cosine.py').write_text(config.replace("'configs/", f"'{ROOT}/configs/"))
    monkeypatch.syspath_prepend(tmp_path)
    config = Config.fromfile(tmp_path / 'cosine.py')
    config.model.teacher = dict(config=teacher_files[0], checkpoint=teacher_files[1])
    distiller = MODELS.build(config.model)
    assert type(distiller.distill['encoder'].loss).__name__ == 'CosineLoss'
    assert distiller.distill['encoder'].adapter is not None


def test_readme_shows_the_flagship():
    shown = next(b for b in blocks('README.md', 'python') if 'mmkd.Distiller' in b)
    model = eval(shown[shown.index('dict(') :].replace("type='EncoderDecoder', ...", ''))
    flagship = load_config('configs/segformer_fastscnn_freq.py').model.to_dict()
    assert model['teacher'] == flagship['teacher']
    assert model['distill'] == flagship['distill']


@pytest.mark.parametrize('page', ['README.md', *sorted(p.name for p in ROOT.glob('docs/*.md'))])
def test_files_that_are_named_exist(page):
    path = ROOT / page if page == 'README.md' else ROOT / 'docs' / page
    text = path.read_text()
    named = re.findall(r'(?<![\w/.])((?:configs|tools|docs|mmkd)/[\w/.]+\.(?:py|sh|md|png))', text)
    linked = [link for link in re.findall(r'\]\(([^)#]+)\)', text) if '://' not in link]
    missing = [n for n in named if not (ROOT / n).is_file()]
    missing += [n for n in linked if not (path.parent / n).is_file()]
    assert missing == []


@pytest.mark.parametrize(
    'tool', sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob('tools/**/*.py'))
)
def test_every_tool_has_help(tool, tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / tool, '--help'], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0 and 'usage: ' in result.stdout
