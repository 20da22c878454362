"""Episodes of a store in the formats of others."""
