"""Simulated viewers: what they play, how they play it, and what is true about it."""
