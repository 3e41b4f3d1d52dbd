"""What judges the answers of the labs: one module a lab, on a frame that draws inputs, calls, compares and shows."""
