"""Trouble that a test may ask the chain for. All off by default; changed while the chain runs."""

from __future__ import annotations

from dataclasses import dataclass

from nym_credentials.money import Coin


@dataclass(slots=True)
class ChainFaults:
    """Switches. Those that say *next* switch themselves off when they have struck."""

    down: bool = False
    """every request is answered with 503"""
    stall: bool = False
    """requests are heard and not answered"""
    reported_chain_id: str | None = None
    """`status` names another chain than the one that signatures are checked for"""
    catching_up: bool = False
    age_seconds: float = 0.0
    """the newest block is so much older than it says"""
    hold_mempool: bool = False
    """transactions are taken and stay out of blocks, until this is switched off"""
    lose_transactions: bool = False
    """transactions are taken and forgotten: they are never included"""
    fail_in_block: str | None = None
    """the next message that would succeed in a block fails with this text"""
    unreadable_broadcast: bool = False
    """the next broadcast is carried out, but its answer lacks a member that every client needs"""
    refuse_broadcast: tuple[int, str] | None = None
    """the next broadcast is refused with this code and log"""
    price_after_query: Coin | None = None
    """becomes the price of a deposit right after the next query for it"""
