"""Models: attention, the Transformer families, adapters, weights in and out, and generation."""
