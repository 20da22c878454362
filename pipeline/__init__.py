"""From logged episodes to a policy: people's sketches, reward models, offline learners. Shared base modules."""
