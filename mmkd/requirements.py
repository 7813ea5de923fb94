"""The import-time check: which libraries mmkd runs on, and the command that installs them."""

import importlib
from importlib.util import find_spec

from packaging.version import Version

# Import name -> (oldest version, what to install). The original OpenMMLab packages and their
# maintained continuations share their import names; both will do.
_REQUIRED = {
    'torch': ('2.6', 'torch==2.11.0'),
    'torchvision': ('0.21', 'torchvision==0.26.0'),
    'timm': ('1.0', 'timm==1.0.31'),
    'mmengine': ('0.10.7', 'onedl-mmengine==0.10.12'),
    'mmcv': ('2.1.0', 'onedl-mmcv==2.3.6'),
    'mmseg': ('1.2.2', 'onedl-mmsegmentation==1.4.2'),
    'mmdet': ('3.3.0', 'onedl-mmdetection==3.5.1'),
}


def check_requirements(required: dict[str, tuple[str, str]] = _REQUIRED) -> None:
    """Check that every required library is there and new enough.

    Raises:
        ImportError: one is not; the message says which and how to mend it, in one sentence.
    """
    for name, (oldest, package) in required.items():
        if find_spec(name) is None:
            raise ImportError(f'mmkd needs {name} >= {oldest}, which is missing: {_mend(package)}')
        version = importlib.import_module(name).__version__
        if Version(version) < Version(oldest):
            raise ImportError(f'mmkd needs {name} >= {oldest}, found {version}: {_mend(package)}')
    if find_spec('mmcv._ext') is None:
        raise ImportError(
            'mmkd needs mmcv with its compiled ops, found mmcv without them: '
            f'{_mend(_REQUIRED["mmcv"][1])}'
        )


def _mend(package: str) -> str:
    if package.startswith('onedl-mmcv'):
        return f"run 'make env', or 'MMCV_WITH_OPS=1 pip install --no-build-isolation {package}'"
    return f"run 'make env', or 'pip install {package}'"
