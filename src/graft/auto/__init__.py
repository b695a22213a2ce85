"""From a labelled data set to a model and its record: rank, shortlist, transfer under a budget, guard, refit.

``run`` does the steps, ``ways`` says what is tried, ``race`` what is left out on the way, ``tune`` searches settings,
``limits`` and ``config`` hold what the person asks for.
"""

from typing import Any

PUBLIC = {"AutoFit": "run", "Config": "config", "EFFORTS": "config", "Listener": "config", "find_sources": "sources"}


def __getattr__(name: str) -> Any:
    """Names are found when they are used: options can be checked before torch is loaded."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
