"""Scores of how well a source carries over, one function each, and the ranking built on them."""
