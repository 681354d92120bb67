"""Values that a user's own function computes: what defines them, what they see, who runs them."""
