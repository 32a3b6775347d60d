"""What DNS is asked for Tor's RESOLVE and RESOLVE_PTR, and what its answers mean: messages over TCP (RFC 1035, 7766).
Pure.

The exit protocol has no such question, so it goes the way of any other stream: through the mixnet to a resolver.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename

from nymgate.errors import StreamRefused
from nymgate.listener.handshake import Lookup, bad_host, is_address
from nymgate.refusals import as_error

LENGTH_BYTES: Final = 2


_ADVICE: Final = {
    "E_BAD_TARGET": "Check the spelling.",
    "E_NO_ADDRESS": "Check the spelling.",
    "E_RESOLVER": "Try again, or name another one with streams.resolver.",
    "E_SOCKS_RESOLVE": "",
}


def lookup_failed(code: str, what: str = "") -> StreamRefused:
    """One of these refusals as an error."""
    return as_error(code, what, _ADVICE[code])


@dataclass(slots=True)
class Questions:
    """All that is asked of a resolver for one lookup, and the answers as they come; IPv4 is preferred."""

    wire: bytes = field(repr=False)
    """To be sent, all at once."""
    _open: "list[dns.message.QueryMessage]" = field(repr=False)
    """In the order of preference."""
    _answers: "dict[int, str | None]" = field(default_factory=dict, repr=False)
    _buffer: bytearray = field(default_factory=bytearray, repr=False)

    @classmethod
    def of(cls, host: str, lookup: Lookup) -> "Questions":
        """The questions for a name, or with Lookup.NAME for an address. Raises StreamRefused for what is no name."""
        kinds = {
            Lookup.ADDRESS: (dns.rdatatype.A, dns.rdatatype.AAAA),
            Lookup.IPV4_ADDRESS: (dns.rdatatype.A,),
            Lookup.NAME: (dns.rdatatype.PTR,),
        }[lookup]
        try:
            name = dns.reversename.from_address(host) if lookup is Lookup.NAME else _name(host)
            queries = [dns.message.make_query(name, kind) for kind in kinds]
        except (dns.exception.DNSException, ValueError) as error:
            raise lookup_failed("E_BAD_TARGET") from error
        if len({query.id for query in queries}) < len(queries):  # drawn by lot
            queries[1].id ^= 1
        return cls(b"".join(query.to_wire(prepend_length=True) for query in queries), queries)

    def receive(self, data: bytes) -> str | None:
        """Take bytes of the resolver, in pieces of any size. What was looked up, once that is certain; None: not yet.

        Raises StreamRefused when there is nothing of that name, or the resolver makes no sense.
        """
        self._buffer += data
        for message in self._messages():
            query = next((query for query in self._open if query.is_response(message)), None)
            if query is None:
                raise lookup_failed("E_RESOLVER", "The resolver answered what nobody had asked.")
            self._answers[query.id] = _found(message)
        for query in self._open:
            if query.id not in self._answers:
                return None
            if (found := self._answers[query.id]) is not None:
                return found
        raise lookup_failed("E_NO_ADDRESS")

    def _messages(self) -> "Iterator[dns.message.Message]":
        buffer = self._buffer
        while len(buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(buffer[:LENGTH_BYTES], "big")
            if len(buffer) < end:
                return
            wire = bytes(buffer[LENGTH_BYTES:end])
            del buffer[:end]
            try:
                yield dns.message.from_wire(wire)
            except dns.exception.DNSException as error:
                raise lookup_failed("E_RESOLVER", "The resolver's answer is no DNS message.") from error


def _name(host: str) -> "dns.name.Name":
    return dns.name.from_text(host, idna_codec=dns.name.IDNA_2008_Practical)


def _found(message: "dns.message.Message") -> str | None:
    """The first answer; None where there is none of that kind."""
    if not isinstance(message, dns.message.QueryMessage) or message.rcode() not in (
        dns.rcode.NOERROR,
        dns.rcode.NXDOMAIN,
    ):
        raise lookup_failed("E_RESOLVER", f"The resolver says {dns.rcode.to_text(message.rcode())}.")
    try:
        records = message.resolve_chaining().answer
    except dns.exception.DNSException as error:
        raise lookup_failed("E_RESOLVER", "The resolver's answer leads nowhere.") from error
    for record in records or ():
        if record.rdtype != dns.rdatatype.PTR:
            return str(record.address)
        name = str(record.target).rstrip(".")
        if bad_host(name) is None:
            return name
    return None


def literal(host: str, lookup: Lookup) -> str | None:
    """What needs no question: an address is its own."""
    if lookup is Lookup.NAME or not is_address(host):
        return None
    if lookup is Lookup.IPV4_ADDRESS and ":" in host:
        raise lookup_failed("E_NO_ADDRESS")
    return host
