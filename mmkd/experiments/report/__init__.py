"""Report finished runs as one page (``python -m mmkd report``)."""
