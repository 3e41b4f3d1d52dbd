"""Training: objectives, the loop as a generator, checkpoints."""
