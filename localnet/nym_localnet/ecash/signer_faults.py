"""Trouble that a test may ask a signer for. All off by default; changed while the signer runs."""

from __future__ import annotations

from dataclasses import dataclass

from nym_credentials.signers.tickets import Rejection


@dataclass(slots=True)
class SignerFaults:
    """Switches. Those that say *next* switch themselves off when they have struck."""

    down: bool = False
    """connections are cut without an answer"""
    stall: bool = False
    """requests are heard and not answered"""
    refuse_all: tuple[int, str] | None = None
    """every request gets this status and text"""
    refuse_blind_sign: tuple[int, str] | None = None
    """only requests for a share get this status and text"""
    delay_seconds: float = 0.0
    """before every answer"""
    disabled: bool = False
    """the operator has switched signing off"""
    clock_offset_seconds: float = 0.0
    """its clock is ahead by so much"""

    garbage_share: bool = False
    """shares are random points"""
    other_share: bool = False
    """shares are those of a request of somebody else"""
    wrong_key_share: bool = False
    """shares are made with a key that is not the published one"""
    lose_next_share: bool = False
    """the next share is issued and stored, and its answer lost"""

    lie_master_key: bool = False
    """the master key is another one"""
    lie_coins: bool = False
    """the coin-index signatures do not verify"""
    lie_dates: bool = False
    """the date signatures do not verify"""
    lie_epoch: bool = False
    """public signatures come with another epoch than was asked for"""
    lie_date: bool = False
    """date signatures come for another date than was asked for"""
    forge_status: bool = False
    """the status is signed with a key that is not the published one"""

    reject_tickets: Rejection | None = None
    """tickets are rejected for this reason (not for a date)"""
    lose_next_ticket: bool = False
    """the next ticket is checked and stored, and the answer lost"""
