"""A DNS server over TCP that knows what this machine knows: names as the exits resolve them.

For clients that look names up through the network (RFC 1035, 7766).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

logger = logging.getLogger(__name__)

TTL_SECONDS: Final = 60
IDLE_SECONDS: Final = 10.0
_FAMILIES: Final = {dns.rdatatype.A: socket.AF_INET, dns.rdatatype.AAAA: socket.AF_INET6}


class Resolver:
    """Takes connections from `start` to `close`."""

    def __init__(self) -> None:
        self.questions = 0
        """asked so far"""
        self.silent = False
        """fault: takes questions and never answers"""
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int = 0) -> int:
        """Listen; the port. OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    async def close(self) -> None:
        """Take no more connections; open ones end by themselves."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    length = int.from_bytes(await reader.readexactly(2), "big")
                    wire = await reader.readexactly(length)
                self.questions += 1
                if not self.silent:
                    writer.write(await self._answer(wire))
        except (asyncio.IncompleteReadError, TimeoutError, OSError, dns.exception.DNSException) as error:
            logger.debug("a connection to the resolver ends: %s", type(error).__name__)
        finally:
            writer.close()

    async def _answer(self, wire: bytes) -> bytes:
        query = dns.message.from_wire(wire)
        response = dns.message.make_response(query, recursion_available=True)
        question = query.question[0] if len(query.question) == 1 else None
        if question is None or question.rdclass != dns.rdataclass.IN:
            response.set_rcode(dns.rcode.NOTIMP)
            return response.to_wire(prepend_length=True)
        loop = asyncio.get_running_loop()
        name = question.name.to_text(omit_final_dot=True)
        found: list[str] = []
        try:
            if question.rdtype == dns.rdatatype.PTR:
                address = dns.reversename.to_address(question.name)
                found = [(await loop.getnameinfo((address, 0), socket.NI_NAMEREQD))[0] + "."]
            elif question.rdtype in _FAMILIES:
                entries = await loop.getaddrinfo(
                    name, 0, family=_FAMILIES[question.rdtype], type=socket.SOCK_STREAM
                )
                found = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in entries))
        except (OSError, UnicodeError, dns.exception.DNSException):
            if not await _has_address(name):
                response.set_rcode(dns.rcode.NXDOMAIN)
        if found:
            response.answer.append(
                dns.rrset.from_text(question.name, TTL_SECONDS, dns.rdataclass.IN, question.rdtype, *found)
            )
        return response.to_wire(prepend_length=True)


async def _has_address(name: str) -> bool:
    """Whether the name exists, if with an address of the other kind."""
    try:
        return bool(await asyncio.get_running_loop().getaddrinfo(name, 0, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False
