"""mmkd: distil a large frozen teacher into a small student on the OpenMMLab libraries."""

import os

# OpenMP reads this once, when PyTorch loads. By default its threads spin while they wait for each
# other, which takes time from other work on shared cores. Passive threads sleep.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

from mmkd.openmmlab.quiet_imports import quiet_imports
from mmkd.version import __version__

with quiet_imports():
    from mmkd.requirements import check_requirements

    check_requirements()

    # Before anything imports a model: MMSegmentation's leave out what mmcv cannot give them then.
    from mmkd.openmmlab.operators import install_operators

    install_operators()

    from mmkd.config.moved_modules import find_moved_modules
    from mmkd.openmmlab.patches import apply_patches

    apply_patches()
    find_moved_modules()

    from mmkd import datasets, distillation, engine, losses, metrics, models  # noqa: F401
    from mmkd.openmmlab.inference import load_student

__all__ = ['__version__', 'load_student']
