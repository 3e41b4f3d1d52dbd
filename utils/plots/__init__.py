"""Tensors in, plotly figures out, with an alt text on each; nothing here shows a figure."""
