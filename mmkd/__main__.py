"""Run ``python -m mmkd train CONFIG``, the same as ``mmkd train CONFIG``.

Tools in folders run by path: ``python -m mmkd analysis/profile_model`` runs
``tools/analysis/profile_model.py``, wherever mmkd is installed.
"""

import runpy
import sys

import mmkd_cli
from mmkd.config.load import ROOT


def main() -> None:
    folder = ROOT / 'tools'
    tools = {
        path.relative_to(folder).with_suffix('').as_posix(): path for path in folder.rglob('*.py')
    }
    name, *args = sys.argv[1:] or ['']
    if name in tools and name not in mmkd_cli.COMMANDS:
        sys.argv = [str(tools[name]), *args]
        runpy.run_path(sys.argv[0], run_name='__main__')
        return
    if name in ('-h', '--help', ''):
        others = sorted(tools.keys() - mmkd_cli.COMMANDS.keys())
        print(f"'python -m mmkd' also runs: {', '.join(others)}\n")
    mmkd_cli.main()


if __name__ == '__main__':
    main()
