"""Heads, encoders and the closed forms that fit them."""
