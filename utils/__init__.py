"""What two or more notebooks of the course need: one module for each thing, arranged in floors (tests/test_architecture.py)."""
