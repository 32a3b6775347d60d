"""Pytest plugin: fixtures that bring a whole Nym network up on loopback."""
