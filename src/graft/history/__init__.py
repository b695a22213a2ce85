"""Algorithm transfer: finished runs, how alike their tasks are, and what they suggest for a new one."""
