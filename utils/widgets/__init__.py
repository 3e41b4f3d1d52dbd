"""Interactive explorers: each a Python file and a JavaScript file of the same name; a cell ends with its call."""
