"""Training: objectives, one loop, optimizers and callbacks."""
