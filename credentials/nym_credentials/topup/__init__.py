"""Ticketbooks stay topped up, within a budget (docs/protocol/10 §6).

Everything but `topup_io` is pure: time, use, prices and stocks come in, decisions and their reasons come out.
"""
