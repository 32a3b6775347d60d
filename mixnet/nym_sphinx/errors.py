"""Every error this package raises on purpose.

::

    SphinxError (ValueError)
    ├── BadKey                a secret key of ours has the wrong length
    ├── BadRoute              a packet cannot be built from this route, these delays or keys
    ├── PayloadTooLong        the plaintext does not fit the packet size
    ├── MalformedPacket       bytes that cannot be a Sphinx packet
    │   └── UnknownRoutingFlag    the decrypted routing block is neither "forward" nor "final"
    ├── HeaderMacMismatch     the header was altered, or is for another key
    ├── ReplayedPacket        the packet's replay tag was seen before
    ├── PayloadTampered       the last layer shows no valid padding: altered on the way, or a wrong key
    ├── MalformedSurb         bytes that cannot be a single-use reply block
    ├── MalformedAddress      bytes or text that cannot be a node address
    ├── MalformedRecipient    bytes or text that cannot be a Nym address
    ├── MalformedBase58       text outside the base58 alphabet
    ├── MalformedFrame        a corrupted stream between nodes; the connection is lost
    ├── MalformedMixPacket    a client-to-gateway packet that cannot be parsed
    ├── MalformedFragment     bytes that cannot be a fragment, or a message that cannot be split
    ├── MalformedMessage      bytes that cannot be a NymMessage or its envelope
    └── MalformedAck          bytes that cannot be (or carry) an acknowledgement

None of them is worth a retry with the same bytes. Parsers raise nothing else: no ``IndexError``,
``struct.error`` or error of a cryptographic library leaves this package. Texts never hold keys, plaintexts or
addresses of destinations.
"""

from __future__ import annotations


class SphinxError(ValueError):
    """Base of all errors of ``nym_sphinx``."""


class BadKey(SphinxError):
    """A secret key of ours has the wrong length: a mistake of the caller."""


class BadRoute(SphinxError):
    """A packet cannot be built from this route, these delays or keys."""


class PayloadTooLong(SphinxError):
    """The plaintext does not fit the packet size."""


class MalformedPacket(SphinxError):
    """Bytes that cannot be a Sphinx packet."""


class UnknownRoutingFlag(MalformedPacket):
    """The decrypted routing block is neither "forward" nor "final"."""


class HeaderMacMismatch(SphinxError):
    """The header was altered on the way, or it is meant for another private key."""


class ReplayedPacket(SphinxError):
    """A packet with this replay tag was processed before."""


class PayloadTampered(SphinxError):
    """The last layer shows no valid padding: the payload was altered, or a key is wrong."""


class MalformedSurb(SphinxError):
    """Bytes that cannot be a single-use reply block."""


class MalformedAddress(SphinxError):
    """Bytes or text that cannot be a node address."""


class MalformedRecipient(SphinxError):
    """Bytes or text that cannot be a Nym address."""


class MalformedBase58(SphinxError):
    """Text with a character outside the base58 alphabet."""


class MalformedFrame(SphinxError):
    """The stream between two nodes is corrupted; the connection must be closed."""


class MalformedMixPacket(SphinxError):
    """A client-to-gateway packet that cannot be parsed."""


class MalformedFragment(SphinxError):
    """Bytes that cannot be a fragment, or a message that cannot be split as asked."""


class MalformedMessage(SphinxError):
    """Bytes that cannot be a NymMessage or its envelope, or a message that has no encoding."""


class MalformedAck(SphinxError):
    """Bytes that cannot be, or cannot begin with, an acknowledgement."""
