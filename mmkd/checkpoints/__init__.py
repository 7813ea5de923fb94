"""Checkpoint files: load them safely, write them atomically."""
