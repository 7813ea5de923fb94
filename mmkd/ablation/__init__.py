"""Ablations: many configs, several seeds, one table (``tools/ablate.py``)."""
