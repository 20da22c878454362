"""Offline learners on data of mixed quality, made as RL Unplugged's was: the control suite, seen by an online D4PG."""
