"""docs/reference.md says what the code says."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs/reference.md'
TOOL = runpy.run_path(str(ROOT / 'tools/docs_reference.py'))


def test_reference_page_equals_the_code():
    assert PAGE.read_text() == TOOL['reference'](), (
        'the code has changed: run python tools/docs_reference.py'
    )


def test_meanings_join_lines_and_split_names():
    text = 'Do.\n\nArgs:\n    a, b: One\n        two.\n    c: ``Three``.\n\nRaises:\n    E: x.'
    assert TOOL['meanings'](text) == dict(a='One two.', b='One two.', c='`Three`.')


def test_every_key_of_a_term_and_a_loss_has_a_meaning():
    blank = [
        line
        for line in TOOL['reference']().splitlines()
        if line.startswith('| `') and line.endswith('|  |')
    ]
    assert not blank
