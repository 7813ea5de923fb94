"""What surrounds training: hooks, files, launching, preparing the teacher."""

from mmkd.engine import files, hooks  # noqa: F401  (registers the backend and the hooks)
