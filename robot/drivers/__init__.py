"""Real arms: what a driver is (`base`), the environment around one (`environment`), and one that is none (`fake`)."""
