"""Sizes of a Sphinx packet's parts, in bytes, and its versions (docs/protocol/01 §1, §2)."""

from __future__ import annotations

from typing import Final

MAX_HOPS: Final = 5
"""Longest route, the last hop (a gateway) included. Normal routes have 4."""

KEY_BYTES: Final = 32
ADDRESS_BYTES: Final = 32
DESTINATION_BYTES: Final = 32
IDENTIFIER_BYTES: Final = 16
MAC_BYTES: Final = 16
STEP_BYTES: Final = 60
"""What one hop uses of the routing block: flag 1, version 3, next address 32, delay 8, MAC 16."""
BETA_BYTES: Final = MAX_HOPS * STEP_BYTES
KEYSTREAM_BYTES: Final = BETA_BYTES + STEP_BYTES
FINAL_META_BYTES: Final = 1 + 3 + DESTINATION_BYTES + IDENTIFIER_BYTES
HEADER_BYTES: Final = KEY_BYTES + MAC_BYTES + BETA_BYTES

PAYLOAD_OVERHEAD_BYTES: Final = 17
"""16 zero bytes in front of the plaintext and the 0x01 marker behind it."""
MIN_PAYLOAD_BYTES: Final = 33
"""The payload cipher has a left half of 32 bytes and needs a right half."""

PAYLOAD_KEY_BYTES: Final = 192
SEED_BYTES: Final = 16
NO_IDENTIFIER: Final = bytes(IDENTIFIER_BYTES)
"""What Nym writes as the packet identifier; receivers ignore it."""

FLAG_FORWARD: Final = 1
FLAG_FINAL: Final = 2

V258: Final = 258
"""Packets whose payload keys come whole out of the key expansion; SURBs carry 192 B a hop."""
V259: Final = 259
"""Packets whose payload keys are derived from 16-byte seeds; SURBs carry 16 B a hop."""
BUILDABLE_VERSIONS: Final = frozenset((V258, V259))
UNCLAMPED_VERSIONS: Final = frozenset((1, 257))
"""Formats of long ago whose scalars are reduced instead of clamped: nodes still forward them."""
FULL_KEY_VERSIONS: Final = frozenset((1, 257, V258))
"""Versions with whole payload keys; every other number, known or not, means seeds."""
