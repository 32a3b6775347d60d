"""Which exit: what the directory offers, a pool for each identity, probes and fail-over."""
