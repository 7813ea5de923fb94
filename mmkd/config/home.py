"""Expand ``~`` in the paths of a config and of a command line."""

import os
import re
from typing import Any

_HOME = re.compile(r'~[\w.-]*(/|$)')


def expand_home(node: Any) -> Any:
    """Return ``node`` with each text that begins as ``~/`` or ``~user/`` does as a full path.

    Dicts and lists are changed in place.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            expanded = expand_home(value)
            if expanded is not value:
                node[key] = expanded
    elif isinstance(node, list):
        node[:] = [expand_home(value) for value in node]
    elif type(node) is tuple:
        expanded = tuple(expand_home(value) for value in node)
        return expanded if any(a is not b for a, b in zip(node, expanded, strict=True)) else node
    elif isinstance(node, str) and _HOME.match(node):
        return os.path.expanduser(node)
    return node


def expand_argument(argument: str) -> str:
    """Return a command line's argument with ``~`` expanded, after ``=`` too."""
    option, sign, value = argument.partition('=')
    if sign and _HOME.match(value):
        return f'{option}={os.path.expanduser(value)}'
    return os.path.expanduser(argument) if _HOME.match(argument) else argument
