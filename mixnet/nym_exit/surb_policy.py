"""How many reply SURBs go with which message (docs/protocol/04 §4.4a, 05 §4.3).

An exit answers an anonymous client with one SURB per packet. The reference sends 20 with a Connect and 3 with
every Send: 6 packets before the first byte of data. With a bank of SURBs supplied ahead of need the Connect
carries three, which fit its only packet, and Sends carry none.

Never zero with a Connect: an exit that lost our pool (restarted, tag dropped) would throw its first answer
away, and the stream would be dead although later messages bring SURBs.
"""

from __future__ import annotations

from dataclasses import dataclass

from nym_exit.chunking import anonymous_chunking

#: SURBs an exit of the reference keeps for asking for more; what it can answer with is the rest.
EXIT_RESERVE_SURBS = 10
#: While the reader of another stream is behind, a packet of an answer earns one SURB for the next, one that the
#: exit spends on the stream that is behind, and one to speed up.
EARNED_BY_ANSWER = 3


@dataclass(frozen=True, slots=True)
class SurbPolicy:
    """Numbers of SURBs.

    Attributes:
        bank_target: SURBs to keep at the exit ahead of need; 0 keeps none.
        in_stock: from how many the exit is believed to hold on, the bank counts as stocked.
        connect_stocked, send_stocked: per message while the bank is stocked.
        connect_empty, send_empty: per message otherwise, the reference's numbers.
        query: with a query or control request: more than the exit's reserve, so that it can answer at once,
            and as many as fit four packets.
        query_stocked: the same while the bank is stocked.
    """

    bank_target: int = 1000
    in_stock: int = 60
    connect_stocked: int = 3
    send_stocked: int = 0
    connect_empty: int = 20
    send_empty: int = 3
    query: int = 13
    query_stocked: int = 3

    def __post_init__(self) -> None:
        if self.connect_stocked < 1 or self.connect_empty < 1:
            raise ValueError("a Connect carries at least one reply SURB: without any, the exit cannot answer")
        if min(self.bank_target, self.send_stocked, self.send_empty, self.query, self.query_stocked) < 0:
            raise ValueError("numbers of reply SURBs are not negative")

    def stocked(self, stock: int) -> bool:
        """Whether the exit holds enough for answers to come without our help."""
        return stock >= self.in_stock

    def for_connect(self, stock: int, message_bytes: int) -> int:
        """SURBs for a Connect whose encoded message has ``message_bytes`` bytes.

        A stocked Connect never takes another packet because of them: a long name gets fewer, at least one.
        """
        if not self.stocked(stock):
            return self.connect_empty
        count = self.connect_stocked
        packets = anonymous_chunking(1, overhead_bytes=0).packets(message_bytes)
        while count > 1 and anonymous_chunking(count, overhead_bytes=0).packets(message_bytes) > packets:
            count -= 1
        return count

    def for_send(self, stock: int, *, wants_data: bool, overdue: bool = False) -> int:
        """SURBs for a Send; none when the stream waits for nothing any more.

        ``overdue``: the exit should have spoken by now, so the belief that it has SURBs may be wrong.
        """
        if not wants_data:
            return 0
        return self.send_stocked if self.stocked(stock) and not overdue else self.send_empty

    def for_query(self, stock: int) -> int:
        """SURBs for a query or a control request."""
        return self.query_stocked if self.stocked(stock) else self.query
