"""The tools wherever mmkd is installed: ``python -m mmkd train CONFIG`` is ``tools/train.py``."""

import runpy
import sys

from mmkd.configs import ROOT


def main() -> None:
    folder = ROOT / 'tools'
    tools = {
        path.relative_to(folder).with_suffix('').as_posix(): path for path in folder.rglob('*.py')
    }
    name, *args = sys.argv[1:] or ['']
    if name not in tools:
        print(f'usage: python -m mmkd TOOL ...\nTOOL is one of: {", ".join(sorted(tools))}')
        sys.exit(0 if name in ('-h', '--help') else 2)
    sys.argv = [str(tools[name]), *args]
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
