"""Everything that acts: the simulated cell, scripted experts, recording, the episode loop and evaluation."""
