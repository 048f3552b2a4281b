"""Explains a growth: what grows, who holds it, where it comes from; only on suspicion, within a budget."""
