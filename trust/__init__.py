"""Who may do what, and proof of what was done."""
