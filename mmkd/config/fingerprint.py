"""Hashes that tell configs apart."""

import hashlib
import json


def fingerprint(facts: dict | list) -> str:
    """Return 16 hexadecimal digits that differ if anything in ``facts`` does."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
