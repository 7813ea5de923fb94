"""Types in a config: names or, in MMEngine's pure Python configs, classes."""

from mmkd.registry import Registry


def type_name(kind: str | type | None) -> str:
    """Return a type's name without scope or module, such as ``Distiller``."""
    path = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return path.rpartition('.')[2]


def type_library(kind: str | type) -> str:
    """Return the package that a type comes from, such as ``mmseg``; empty for a name without one.

    A class and its dotted path name it, and so does a scope, as in ``mmseg.EncoderDecoder``.
    """
    path = f'{kind.__module__}.{kind.__name__}' if isinstance(kind, type) else kind
    return path.partition('.')[0] if '.' in path else ''


def is_kind(kind: str | type | None, name: str, registry: Registry) -> bool:
    """Return whether a type is mmkd's class ``name`` or one of its subclasses.

    Args:
        kind: A config's ``type``.
        name: The class's name, without scope.
        registry: Where a name is looked up.
    """
    if type_name(kind) == name:
        return True
    if isinstance(kind, str):
        try:
            kind = registry.get(kind)
        except RuntimeError:  # not registered; whoever builds it says so
            return False
    bases = getattr(kind, '__mro__', ())
    return any(base.__name__ == name and base.__module__.startswith('mmkd.') for base in bases)
