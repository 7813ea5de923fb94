"""Put mmkd's operators in the place of mmcv's compiled ones, where mmcv has none."""

import sys
from importlib import import_module
from importlib.util import find_spec


def install_operators() -> None:
    """Let ``mmcv.ops`` use mmkd's operators if mmcv has no compiled ones.

    Call it before anything imports ``mmcv.ops``. Compiled operators stay in use where they exist.

    Raises:
        ImportError: mmcv has compiled operators that do not load, such as those of another torch.
    """
    if find_spec('mmcv._ext') is None:
        from mmkd.openmmlab.operators import extension

        sys.modules['mmcv._ext'] = extension
        return
    try:
        import_module('mmcv._ext')
    except ImportError as error:
        reason = ' '.join(str(error).split())[:160]
        raise ImportError(
            f"mmcv's compiled operators do not load ({reason}): expected those of this torch; run "
            "'make env', or reinstall mmcv"
        ) from error


def uses_mmkd_operators() -> bool:
    """Return whether ``mmcv.ops`` calls mmkd's operators in place of compiled ones."""
    module = sys.modules.get('mmcv._ext')
    return module is not None and module.__name__.startswith('mmkd.')
