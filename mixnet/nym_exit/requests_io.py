"""How a client's requests travel to one exit: encoding, reply SURBs, lanes."""

from __future__ import annotations

from nym_exit.chunking import OWN_ADDRESS_CHUNKING, Chunking, anonymous_chunking
from nym_exit.codec import Connect, RequestMessage, Send
from nym_exit.options import ExitOptions
from nym_exit.ports import BankPort, ClientPort, SendingPort
from nym_exit.stream import Outbound, StreamCore
from nym_mixnet.lanes import Lane
from nym_mixnet.link_state import LinkState
from nym_sphinx.addressing import Recipient


class Requests:
    """Sends a client's messages to one exit, anonymously or with the client's own address."""

    def __init__(self, client: ClientPort, recipient: Recipient, options: ExitOptions) -> None:
        self.client = client
        self._recipient = recipient
        self._options = options
        #: The SURB bank at the exit; None before the start.
        self.bank: BankPort | None = None

    def stock(self) -> int:
        """Reply SURBs the exit is believed to hold."""
        return self.bank.stock() if self.bank is not None else 0

    def stir(self) -> None:
        """An answer will be wanted, though the reader of some other stream may be behind."""
        if self.bank is not None:
            self.bank.stir()

    async def connect(self, connection_id: int, remote: str) -> SendingPort:
        """Ask for a connection to ``remote`` (a text of :mod:`nym_exit.targets`)."""
        lane = Lane.connection(connection_id)
        if not self._options.anonymous:
            data = RequestMessage(Connect(connection_id, remote, self.client.address)).encode()
            return await self.client.send_plain(self._recipient, data, lane=lane)
        data = RequestMessage(Connect(connection_id, remote)).encode()
        surbs = self._options.surbs.for_connect(self.stock(), len(data))
        self.stir()
        return await self.client.send_anonymous(self._recipient, data, surbs=surbs, lane=lane)

    def chunking(self, *, wants_data: bool, overdue: bool) -> Chunking:
        """How the next Send of a stream travels."""
        if not self._options.anonymous:
            return OWN_ADDRESS_CHUNKING
        surbs = self._options.surbs.for_send(self.stock(), wants_data=wants_data, overdue=overdue)
        return anonymous_chunking(surbs)

    async def send(self, connection_id: int, message: Outbound, chunking: Chunking) -> SendingPort:
        """Send one message of a stream."""
        data = RequestMessage(Send(connection_id, message.seq, message.data, message.closed)).encode()
        lane = Lane.connection(connection_id)
        if not self._options.anonymous:
            return await self.client.send_plain(self._recipient, data, lane=lane)
        return await self.client.send_anonymous(self._recipient, data, surbs=chunking.surbs, lane=lane)

    async def ask(self, data: bytes) -> None:
        """Send a question. Always with reply SURBs: an exit has no other way to answer one."""
        surbs = self._options.surbs.for_query(self.stock())
        self.stir()
        await self.client.send_anonymous(self._recipient, data, surbs=surbs, lane=Lane.GENERAL)


class LanePort:
    """Where one stream's messages go: a lane of the mixnet client."""

    __slots__ = ("_connection_id", "_core", "_lane", "_requests")

    def __init__(self, requests: Requests, core: StreamCore, connection_id: int) -> None:
        self._requests = requests
        self._core = core
        self._connection_id = connection_id
        self._lane = Lane.connection(connection_id)

    def chunking(self) -> Chunking:
        """See :class:`~nym_exit.ports.StreamPort`."""
        return self._requests.chunking(wants_data=self._core.wants_data, overdue=self._core.overdue)

    def queued_packets(self) -> int:
        """See :class:`~nym_exit.ports.StreamPort`."""
        return self._requests.client.lane_queued(self._lane)

    async def wait_queued(self, at_most: int) -> None:
        """See :class:`~nym_exit.ports.StreamPort`."""
        await self._requests.client.wait_lane(self._lane, queued_below=at_most + 1)

    async def send(self, message: Outbound, chunking: Chunking) -> SendingPort:
        """See :class:`~nym_exit.ports.StreamPort`."""
        if message.data and self._core.wants_data:
            self._requests.stir()
        return await self._requests.send(self._connection_id, message, chunking)

    def link_ready(self) -> bool:
        """See :class:`~nym_exit.ports.StreamPort`."""
        return self._requests.client.link_state is LinkState.READY
