"""Traffic profiles: how often packets leave, how long mixes hold them, and what that costs.

`standard` is the reference client's default traffic (docs/protocol/04 §1), so that a user of this client looks
like every other user while awake. The other profiles trade something away; `describe()` of each says what.
"""

from __future__ import annotations

from dataclasses import dataclass

from nym_sphinx import PacketSize

SECONDS_PER_DAY = 86_400
ENTRY_TICKET_BYTES = 200_000_000  # one v1-mixnet-entry ticket, docs/protocol/03 §9.2
MIX_HOPS = 3


@dataclass(frozen=True, slots=True)
class ProfileCosts:
    """What a profile costs while awake and idle (nothing but its own cover traffic)."""

    packets_per_second: float
    bytes_per_second: float
    bytes_per_day: float
    tickets_per_hour: float
    tickets_per_day: float
    mean_mix_delay_seconds: float
    upload_bound_bytes_per_second: float | None  # None: as fast as CPU and network allow
    observer: str


@dataclass(frozen=True, slots=True)
class TrafficProfile:
    """Timing of a client's packets; all times in seconds.

    `message_interval_seconds` is the mean gap of the main Poisson stream, None for no stream (packets leave at
    once and nothing fills the silence). `cover_interval_seconds` is the mean gap of the extra loop cover.
    """

    name: str
    summary: str
    observer: str
    packet_delay_seconds: float = 0.015
    ack_delay_seconds: float = 0.015
    message_interval_seconds: float | None = 0.020
    cover_interval_seconds: float | None = 0.200

    @property
    def shaped(self) -> bool:
        """Whether packets leave on a Poisson schedule whatever the applications do."""
        return self.message_interval_seconds is not None

    def costs(self) -> ProfileCosts:
        """Idle cost of this profile; every packet is charged at its full length (docs/protocol/03 §9.1)."""
        main = 1 / self.message_interval_seconds if self.message_interval_seconds else 0.0
        cover = 1 / self.cover_interval_seconds if self.cover_interval_seconds else 0.0
        packets = main + cover
        bytes_per_second = packets * PacketSize.REGULAR.packet_bytes
        tickets_per_hour = bytes_per_second * 3600 / ENTRY_TICKET_BYTES
        fragment_bytes = PacketSize.REGULAR.fragment_space - 7
        return ProfileCosts(
            packets_per_second=packets,
            bytes_per_second=bytes_per_second,
            bytes_per_day=bytes_per_second * SECONDS_PER_DAY,
            tickets_per_hour=tickets_per_hour,
            tickets_per_day=tickets_per_hour * 24,
            mean_mix_delay_seconds=MIX_HOPS * self.packet_delay_seconds,
            upload_bound_bytes_per_second=main * fragment_bytes if main else None,
            observer=self.observer,
        )

    def describe(self) -> str:
        """One line for people: what it sends when idle, what it costs, what an observer learns."""
        costs = self.costs()
        return (
            f"{self.name}: {costs.packets_per_second:.1f} packets/s awake and idle = "
            f"{costs.bytes_per_day / 1e9:.2f} GB = {costs.tickets_per_day:.1f} tickets a day, "
            f"mean mix delay {costs.mean_mix_delay_seconds * 1000:.0f} ms each way; {self.observer}"
        )


# Three tickets a day are 600 MB: 2.88 packets/s. The main stream gets five sixths of them.
_THRIFTY_PACKETS_PER_SECOND = 3 * ENTRY_TICKET_BYTES / (SECONDS_PER_DAY * 2413)

STANDARD = TrafficProfile(
    name="standard",
    summary="the reference client's default traffic",
    observer="an observer of your line sees the same stream whether you use it or not, while the client is awake",
)
FAST = TrafficProfile(
    name="fast",
    summary="the reference client's fast mode: five times the packets, shorter delays",
    observer=(
        "an observer sees the same stream whether you use it or not, but it stands out among default clients, "
        "and shorter mix delays leave fewer packets to be confused with"
    ),
    packet_delay_seconds=0.010,
    message_interval_seconds=0.004,
    cover_interval_seconds=2000.0,
)
THRIFTY = TrafficProfile(
    name="thrifty",
    summary="awake for at most three tickets a day; slow uploads",
    observer=(
        "an observer sees the same thin stream whether you use it or not, but it stands out among default clients, "
        "and transfers take so long that their length shows at the other end"
    ),
    message_interval_seconds=1 / (_THRIFTY_PACKETS_PER_SECOND * 5 / 6),
    cover_interval_seconds=1 / (_THRIFTY_PACKETS_PER_SECOND / 6),
)
UNCOVERED = TrafficProfile(
    name="uncovered",
    summary="real packets only, at once; the reference client's no-cover mode",
    observer="an observer of your line sees when, how much and how fast you send and receive",
    message_interval_seconds=None,
    cover_interval_seconds=None,
)

PROFILES: dict[str, TrafficProfile] = {p.name: p for p in (STANDARD, FAST, THRIFTY, UNCOVERED)}
