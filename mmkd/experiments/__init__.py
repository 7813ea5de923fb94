"""Ablations: many configs, several seeds, one table (``python -m mmkd ablate``)."""
