"""Named experiments: what `python -m utils.launch NAME` runs."""
