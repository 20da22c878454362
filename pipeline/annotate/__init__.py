"""People: sketches, and simulated annotators."""
