"""``mmkd test`` as a script."""

from mmkd_cli import run

if __name__ == '__main__':
    run('test')
