"""Transfers under faults, and fair shares: small in `make test`, long in `make soak`."""
