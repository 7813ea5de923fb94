"""What surrounds training: hooks, launching, preparation of the teacher."""

from mmkd.engine import hooks  # noqa: F401  (registers)
