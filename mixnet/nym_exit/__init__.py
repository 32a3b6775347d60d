"""Byte streams through a Nym network requester (docs/protocol/05)."""
