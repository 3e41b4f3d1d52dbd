"""Numbers that say how good a model is, and intervals that say how sure we are of them."""
