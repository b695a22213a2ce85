"""Objectives that make a source from rows without labels; each file is one, found by scanning this folder."""
