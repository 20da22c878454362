"""Which offline learner, and which data: studies on the simulated arm."""
