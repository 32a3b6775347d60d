"""Buying ticketbooks so that no crash loses a deposit (docs/protocol/08 §7, docs/protocol/10 §3)."""
