"""Finished runs as one page (``tools/report.py``)."""
