"""What a run's files say is text on the page, and only the page's own script runs."""

import base64
import hashlib
import re
from dataclasses import replace

from mmkd.experiments.report.page import render
from mmkd.experiments.summary import summarise

MARK = '<img src=x onerror=alert(1)>'


def page(*runs) -> str:
    return render(MARK, summarise(runs), {}, {}, [], {run.name: (MARK, [MARK]) for run in runs})


def test_render_text_of_a_run_is_escaped(finished_run, unfinished):
    run, other = finished_run('a<b>"', 0, 40.0), unfinished('u', 1)
    texts = dict(metric=MARK, config=MARK, length=MARK, seed=MARK, commit=MARK)
    for key, text in texts.items():
        changed = replace(run, **{key: text})
        assert MARK not in page(changed, other), key
    assert 'a<b>' not in page(run) and 'a&lt;b&gt;' in page(run)


def test_render_policy_allows_own_script_only(finished_run):
    text = page(finished_run('a', 0, 40.0))
    (script,) = re.findall(r'<script>(.*?)</script>', text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not re.search(r' on\w+="', text)
