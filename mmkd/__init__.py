"""mmkd: distil a large frozen teacher into a small student on the OpenMMLab libraries."""

from mmkd.requirements import check_requirements
from mmkd.version import __version__

check_requirements()

from mmkd import (  # noqa: E402, F401  (registers)
    checkpoint,
    datasets,
    distiller,
    engine,
    evaluation,
    losses,
    models,
)
from mmkd.inference import load_student  # noqa: E402

__all__ = ['__version__', 'load_student']
