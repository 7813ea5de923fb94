"""Check at import which libraries are installed, and say how to install missing ones."""

import importlib
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec

from packaging.version import Version

from mmkd.errors import one_line

# Import name -> (oldest version, distribution to install). OpenMMLab's libraries exist as original
# packages and as maintained continuations with the same import names. Either works, but not both
# at once, because they share their folders.
_REQUIRED = {
    'torch': ('2.6', 'torch==2.11.0 torchvision==0.26.0'),
    'torchvision': ('0.21', 'torch==2.11.0 torchvision==0.26.0'),
    'timm': ('1.0', 'timm==1.0.31'),
    'mmengine': ('0.10.7', 'onedl-mmengine==0.10.12'),
    'mmcv': ('2.1.0', 'onedl-mmcv==2.3.6'),
    'mmseg': ('1.2.2', 'onedl-mmsegmentation==1.4.2'),
    'mmdet': ('3.3.0', 'onedl-mmdetection==3.5.1'),
}
_ORIGINAL = {
    'mmengine': 'mmengine==0.10.7',
    'mmcv': 'mmcv-lite==2.1.0',
    'mmseg': 'mmsegmentation==1.2.2',
    'mmdet': 'mmdet==3.3.0',
}


def check_requirements(required: dict[str, tuple[str, str]] = _REQUIRED) -> None:
    """Check that every required library is installed, imports and is new enough.

    Raises:
        ImportError: One is not; the message says which, and how to fix it.
    """
    for name, (oldest, package) in required.items():
        if find_spec(name) is None:
            _refuse(name, oldest, package, 'which is missing')
        try:
            version = importlib.import_module(name).__version__
        except Exception as error:  # such as libraries built for different versions of another
            problem = one_line(error)
            _refuse(name, oldest, package, f'which does not import ({problem})', error)
        if Version(version) < Version(oldest):
            _refuse(name, oldest, package, f'found {version}')


def _refuse(
    name: str, oldest: str, package: str, problem: str, cause: Exception | None = None
) -> None:
    if name in _ORIGINAL and _originals_are_installed():
        package = _ORIGINAL[name]
    raise ImportError(
        f"mmkd needs {name} >= {oldest}, {problem}: run 'make env', or 'pip install {package}'"
    ) from cause


def _originals_are_installed() -> bool:
    try:
        return distribution('mmengine') is not None
    except PackageNotFoundError:
        return False
