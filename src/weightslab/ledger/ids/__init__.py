"""Sample ids and the dense rows that stand for them."""
