"""A person drives an arm, alone or in turns with a policy."""
