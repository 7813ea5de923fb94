"""What surrounds training: hooks, launching, preparation of the teacher."""

from mmkd.engine import cpu_amp_optim_wrapper, hooks  # noqa: F401  (registers)
