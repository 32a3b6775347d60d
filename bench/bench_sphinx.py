"""What packets cost to build and unwrap, beside the curve operations that nothing can save.

Every figure is thread CPU time of this process, and each round measures the yardsticks again right beside the
work, because a busy machine changes its speed by the second. Read two kinds of columns, which hold on any machine:
``bound`` is the share of the time that goes into unavoidable curve operations (1 would be perfect), and "at 30k" is
the rate on a core that does 30,000 X25519 a second. That is counted in three ways, since implementations differ:
by the program ``openssl speed ecdhx25519`` where it is installed, by an exchange with the OpenSSL inside
``cryptography``, and by the call of libsodium that the packets really use.

    python -m bench.bench_sphinx [rounds]
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from nym_sphinx import (
    SYSTEM_RNG,
    ForwardHop,
    Fragment,
    Hop,
    KeyRotation,
    MixPacket,
    NodeAddress,
    PacketSize,
    X25519KeyPair,
    build_reply_surb,
    build_surb_ack,
    draw_delays_ns,
    open_reply,
    prepare_packet,
    seal_for,
    seal_reply,
    unwrap,
)
from nym_sphinx.curve import x25519, x25519_base

HOPS = 4
MEAN_DELAY_SECONDS = 0.015
REFERENCE_RATE = 30_000
"""X25519 a second of the core that the ``at 30k`` column is scaled to."""
DATA_PACKET_TARGET = 1_500
ROUNDS = 60
_ROUND_NS = 4_000_000
_CALIBRATION_CALLS = 5

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    microseconds: float
    per_second: float
    floor_microseconds: float
    """The curve operations alone, as measured in the same minute."""
    bound: float
    """floor / time."""
    at_30k: float
    """Per second where ``openssl speed`` gives 30,000 X25519 a second; without that program, as the next."""
    at_30k_exchange: float
    """Per second where OpenSSL in this process gives 30,000."""
    at_30k_libsodium: float
    """Per second where libsodium in this process gives 30,000."""


def cases() -> list[tuple[str, Work, int, int]]:
    """Name, work, and how many base-point and other multiplications it cannot do without."""
    pairs = [X25519KeyPair.generate() for _ in range(HOPS)]
    route = tuple(
        Hop(NodeAddress.parse(f"10.0.0.{index}:1789"), pair.public) for index, pair in enumerate(pairs)
    )
    identity, ack_key = SYSTEM_RNG.randbytes(32), SYSTEM_RNG.randbytes(16)
    recipient = X25519KeyPair.generate()
    link = AESGCMSIV(SYSTEM_RNG.randbytes(32))
    space = PacketSize.REGULAR.fragment_space
    fragment = Fragment(7, 1, 1, SYSTEM_RNG.randbytes(space - 7))

    def delays() -> list[int]:
        return draw_delays_ns(HOPS, MEAN_DELAY_SECONDS, SYSTEM_RNG)

    def data_packet() -> bytes:
        """All that sending one packet takes: ack, end-to-end envelope, packet, and the frame for the gateway."""
        ack = build_surb_ack(ack_key, fragment.id, route, delays(), identity)
        envelope = seal_for(recipient.public, fragment.encode())
        prepared = prepare_packet(route, delays(), identity)
        packet = prepared.seal(ack.encode() + envelope, PacketSize.REGULAR)
        request = MixPacket(prepared.first_hop, packet, KeyRotation.ODD).encode_v2()
        nonce = SYSTEM_RNG.randbytes(12)
        return nonce + link.encrypt(nonce, request, None)

    def reply_surb() -> object:
        return build_reply_surb(route, delays(), identity)

    plaintext = SYSTEM_RNG.randbytes(PacketSize.REGULAR.plaintext_bytes)
    prepared = prepare_packet(route, delays(), identity)
    packet = prepared.seal(plaintext, PacketSize.REGULAR)
    last = packet
    for pair in pairs[:-1]:
        hop = unwrap(last, pair.private)
        assert isinstance(hop, ForwardHop)
        last = hop.packet
    surb = build_reply_surb(route, delays(), identity)
    sealed = seal_reply(surb.key, fragment.encode())

    def reply_packet() -> bytes:
        ack = plaintext[:405]
        return surb.surb.seal(ack + seal_reply(surb.key, fragment.encode()), PacketSize.REGULAR)

    return [
        ("data packet with ack, envelope, gateway frame", data_packet, 3, 2 * HOPS + 1),
        (
            "packet alone, 2 kB",
            lambda: prepare_packet(route, delays(), identity).seal(plaintext, PacketSize.REGULAR),
            1,
            HOPS,
        ),
        ("ack alone", lambda: build_surb_ack(ack_key, fragment.id, route, delays(), identity), 1, HOPS),
        ("reply SURB", reply_surb, 1, HOPS),
        (
            "the same by the chain, without the shortcut",
            lambda: build_reply_surb(route, delays(), identity, shortcut=False),
            1,
            HOPS,
        ),
        ("unwrap at a mix node", lambda: unwrap(packet, pairs[0].private), 0, 2),
        ("unwrap at the last hop", lambda: unwrap(last, pairs[-1].private), 0, 1),
        ("payload of a packet made in advance", lambda: prepared.seal(plaintext, PacketSize.REGULAR), 0, 0),
        ("payload of a reply over a SURB", reply_packet, 0, 0),
        ("open a reply packet", lambda: Fragment.decode(open_reply(surb.key, sealed[32:])), 0, 0),
    ]


def run(rounds: int = ROUNDS) -> list[Row]:
    """Measure everything; about ten seconds."""
    speeds = [openssl_speed()]
    ours, peer = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    scalar, point = SYSTEM_RNG.randbytes(32), X25519KeyPair.generate().public
    yardsticks: list[Work] = [
        lambda: ours.exchange(peer),
        lambda: x25519(scalar, point),
        lambda: x25519_base(scalar),
    ]
    yardstick_calls = [calls_per_round(work) for work in yardsticks]
    measured = []
    for name, work, bases, multiplications in cases():
        calls = calls_per_round(work)
        samples = []
        for _ in range(rounds):
            beside = [microseconds(*each) for each in zip(yardsticks, yardstick_calls, strict=True)]
            samples.append((microseconds(work, calls), *beside))
        measured.append((name, bases, multiplications, samples))
    speeds.append(openssl_speed())

    exchange = median(sample[1] for *_, samples in measured for sample in samples)
    rates = [speed for speed in speeds if speed is not None]
    # How the program's figure relates to an exchange in this process, on this machine and in this minute.
    correction = exchange * sum(rates) / len(rates) / 1e6 if rates else 1.0
    rows = []
    for name, bases, multiplications, samples in measured:
        taken = median(time_us for time_us, *_ in samples)
        floor = median(bases * base + multiplications * dh for _, _, dh, base in samples)
        by_exchange = REFERENCE_RATE / median(time_us / exchange_us for time_us, exchange_us, *_ in samples)
        by_libsodium = REFERENCE_RATE / median(time_us / dh for time_us, _, dh, _ in samples)
        rows.append(
            Row(
                name,
                taken,
                1e6 / taken,
                floor,
                floor / taken,
                by_exchange / correction,
                by_exchange,
                by_libsodium,
            )
        )
    return rows


def calls_per_round(work: Work) -> int:
    """So many calls that a round is long enough for the clock and short enough to share a machine's mood."""
    return max(1, round(_ROUND_NS / 1000 / microseconds(work, _CALIBRATION_CALLS)))


def microseconds(work: Work, calls: int) -> float:
    """Thread CPU time of one call."""
    start = time.thread_time_ns()
    for _ in range(calls):
        work()
    return (time.thread_time_ns() - start) / calls / 1000


def openssl_speed() -> float | None:
    """X25519 a second by the program ``openssl``, if it is there."""
    program = shutil.which("openssl")
    if program is None:
        return None
    command = [program, "speed", "-seconds", "1", "ecdhx25519"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"X25519\)\s+\S+\s+([\d.]+)\s*$", finished.stdout, re.MULTILINE)
    return float(found[1]) if found else None


def main(rounds: int = ROUNDS) -> None:
    rows = run(rounds)
    print(f"{'':46}{'':35}{'per s on a core of 30k X25519/s by':>36}")
    columns = f"{'us':>7} {'per s':>8} {'floor us':>9} {'bound':>6}"
    print(f"{'':46} {columns} {'openssl speed':>14} {'exchange':>9} {'libsodium':>10}")
    for row in rows:
        floor = (
            f"{row.floor_microseconds:9.0f} {row.bound:6.2f}"
            if row.floor_microseconds
            else f"{'-':>9} {'-':>6}"
        )
        print(
            f"{row.name:46} {row.microseconds:7.1f} {row.per_second:8.0f} {floor} "
            f"{row.at_30k:14.0f} {row.at_30k_exchange:9.0f} {row.at_30k_libsodium:10.0f}"
        )
    data = rows[0]
    print(
        f"data packets on a core of 30,000 X25519/s: {data.at_30k:.0f}/s by openssl speed, "
        f"{data.at_30k_libsodium:.0f}/s by libsodium (aim: {DATA_PACKET_TARGET}/s)"
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
