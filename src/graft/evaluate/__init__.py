"""Metrics with intervals, candidates tried on held-out rows, and honest selection."""
