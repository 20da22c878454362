"""Episodes on a real arm, with a person beside it who sets them up and judges them."""
