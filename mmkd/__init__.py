"""mmkd: distil a large frozen teacher into a small student on the OpenMMLab libraries."""

from mmkd.requirements import check_requirements

check_requirements()

from mmkd import checkpoint, datasets, distiller, engine, losses  # noqa: E402, F401  (registers)

__version__ = '0.1.0'
