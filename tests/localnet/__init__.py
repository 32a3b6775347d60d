"""The test network: its nodes one by one, and whole."""
