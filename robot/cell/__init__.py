"""The simulated cell: a mesh-free Sawyer over a basket, four tasks in one scene and one observation spec."""
