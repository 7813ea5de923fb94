"""mmcv's operators from torch and torchvision, for an mmcv that was installed without compiling.

``mmcv.ops`` calls its compiled operators as functions of the module ``mmcv._ext``. ``extension`` is
a Python module with those functions: same names, same arguments, results written into the same
buffers. ``install`` puts it in the place of a missing ``mmcv._ext``.
"""

from mmkd.openmmlab.operators.install import install_operators

__all__ = ['install_operators']
