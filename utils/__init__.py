"""What two or more notebooks need: a module for each thing, in floors (tests/test_architecture.py)."""
