"""Measure time, memory, complexity and gradients, for the tools in ``tools/analysis``."""
