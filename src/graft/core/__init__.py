"""Types, errors, registries, cache and runtime: imports nothing of graft, and no torch at import time."""
