"""Distil with each family of both model zoos, as student and as teacher, one training step each.

    python tools/analysis/walk_zoo.py zoo.jsonl

appends one line to the file for each network and role. A second call goes on where the first
ended. At the end a Markdown table of families is printed. With random weights and synthetic images
it needs no data and no download, and some ten seconds of one core for each line.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from mmkd.analysis.zoo import step_as_student, step_as_teacher, zoo_families
from mmkd.cli.run_tool import run_tool

_SHAPE = re.compile(r'\(\d+(, \d+)*\)')
ROLES = dict(student=step_as_student, teacher=step_as_teacher)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('results', type=Path, help='file of results, one JSON object a line')
    parser.add_argument(
        '--library', nargs='+', choices=['mmseg', 'mmdet'], default=['mmseg', 'mmdet']
    )
    return parser.parse_args()


def walk(path: Path, libraries: list[str]) -> None:
    """Try what the file of results does not hold yet."""
    for library in libraries:
        for config in zoo_families(library):
            for role, step in ROLES.items():
                # Read anew: another walk may write into the same file.
                if (config, role) in {(line['config'], line['role']) for line in load_lines(path)}:
                    continue
                start = time.process_time()
                with tempfile.TemporaryDirectory() as folder:
                    result = step(config, Path(folder))
                seconds = round(time.process_time() - start, 1)
                line = dict(config=config, role=role, result=result, seconds=seconds)
                with path.open('a') as file:
                    file.write(json.dumps(line) + '\n')
                print(f'{config} as {role}: {result} ({seconds} s)', file=sys.stderr)


def load_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def report(lines: list[dict]) -> str:
    """Return the totals, and a table of families, those with the same results in one row."""
    results = {(line['config'], line['role']): line['result'] for line in lines}
    totals = []
    for role in ROLES:
        tried = [r for (_, of), r in results.items() if of == role and not r.startswith('excluded')]
        passed = [r for r in tried if r.startswith('ok')]
        both = f'{passed.count("ok")} with logits too'
        totals.append(f'{len(passed)} of {len(tried)} {role}s ({both})')
    rows = defaultdict(list)
    for config in dict.fromkeys(line['config'] for line in lines):
        library, _, file = config.partition('::')
        outcome = tuple(_SHAPE.sub('(...)', results.get((config, role), '')) for role in ROLES)
        rows[library, outcome].append(file.partition('/')[0])
    text = ['| library | families | as student | as teacher |', '| --- | --- | --- | --- |']
    for (library, outcome), families in sorted(rows.items(), key=lambda row: -len(row[1])):
        text.append(f'| {library} | {", ".join(families)} | ' + ' | '.join(outcome) + ' |')
    return '\n'.join([', '.join(totals), '', *text])


def main() -> None:
    args = parse_args()
    walk(args.results, args.library)
    print(report(load_lines(args.results)))


if __name__ == '__main__':
    run_tool(main)
