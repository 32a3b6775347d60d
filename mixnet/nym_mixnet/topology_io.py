"""Where topologies come from: a nym-api, or a file (docs/protocol/04 §5.3, §10).

A nym-api may have several addresses: they are shuffled at the start, and each failure moves on to the next.
What comes back is read in a thread, bounded in size and time. Errors name the address and the field.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import aiohttp

from nym_mixnet.described import (
    PATH_DESCRIBED,
    PATH_DESCRIBED_V1,
    DescribedNode,
    DescribedPage,
    parse_described_page,
)
from nym_mixnet.errors import BadTopologyFile, MalformedTopology, NymApiError, TopologyError, printable
from nym_mixnet.nym_api import (
    MINIMUM_GATEWAY_PERFORMANCE_PERCENT,
    MINIMUM_MIXNODE_PERFORMANCE_PERCENT,
    NO_UPDATES,
    PATH_ACTIVE_MIXNODES,
    PATH_ENTRY_GATEWAYS,
    PATH_KEY_ROTATION_INFO,
    PATH_REWARDED_SET,
    KeyRotationInfo,
    NodesPage,
    build_topology,
    parse_key_rotation_info,
    parse_nodes_page,
    parse_nodes_page_bincode,
    parse_rewarded_set,
)
from nym_mixnet.topology import Topology, topology_from_network_json
from nym_sphinx.rng import SYSTEM_RNG

_BINCODE = "application/bincode"
_JSON = "application/json"

_Body = TypeVar("_Body")


class _NoSuchRoute(NymApiError):
    """The directory answers, but does not know that path."""


class TopologySource(Protocol):
    """Anything that knows the network."""

    async def fetch(self) -> Topology:
        """The current topology; raises `TopologyError`."""
        ...

    async def key_rotation_info(self) -> KeyRotationInfo | None:
        """When keys change; None if this source does not know. Raises `TopologyError`."""
        ...


@dataclass(frozen=True, slots=True)
class NymApiOptions:
    """How patient a client is with the directory. Performances in percent."""

    request_timeout_seconds: float = 30.0
    attempts: int = 3
    """How often each address is tried per call."""
    retry_seconds: float = 0.5
    """Longest pause before the second attempt; doubled before each later one."""
    body_limit_bytes: int = 64 * 1024 * 1024
    minimum_mixnode_percent: int = MINIMUM_MIXNODE_PERFORMANCE_PERCENT
    minimum_gateway_percent: int = MINIMUM_GATEWAY_PERFORMANCE_PERCENT


class NymApiSource:
    """Topology by the routes of a nym-api. `urls`: base addresses, e.g.
    ``https://validator.nymtech.net/api``.

    `on_date` is told the `Date` header of each answer, and our Unix times before and after it; not of one that lay in
    a cache, whose date is of the past. `connector_factory`, which may be changed at any time, makes the connector of
    each call: through a proxy, for instance.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        options: NymApiOptions | None = None,
        rng: random.Random = SYSTEM_RNG,
        on_date: Callable[[str, float, float], None] | None = None,
    ) -> None:
        if not urls:
            raise NymApiError("no nym-api address is configured")
        self.connector_factory: Callable[[], aiohttp.BaseConnector] | None = None
        self.gateway_scores: dict[bytes, int] = {}
        """Measured performance of gateways by identity, in percent, as of the last :meth:`fetch`."""
        self._on_date = on_date
        self._urls = [url.rstrip("/") for url in urls]
        self._options = options or NymApiOptions()
        self._rng = rng
        rng.shuffle(self._urls)

    @property
    def current_url(self) -> str:
        """The address that is asked next."""
        return self._urls[0]

    async def fetch(self) -> Topology:
        """One refresh. A topology without a usable route counts as a failure of the address it came from."""

        async def ask(api: _NymApi) -> Topology:
            rewarded = await api.get(PATH_REWARDED_SET, parse_rewarded_set)
            mixnodes = await api.nodes(PATH_ACTIVE_MIXNODES)
            gateways = await api.nodes(PATH_ENTRY_GATEWAYS)
            topology = build_topology(
                rewarded,
                mixnodes,
                gateways,
                minimum_mixnode_percent=self._options.minimum_mixnode_percent,
                minimum_gateway_percent=self._options.minimum_gateway_percent,
            )
            topology.ensure_usable()
            self.gateway_scores = {node.identity: node.performance_percent for node in gateways.nodes}
            return topology

        return await self._with_fail_over(ask)

    async def key_rotation_info(self) -> KeyRotationInfo:
        return await self._with_fail_over(
            lambda api: api.get(PATH_KEY_ROTATION_INFO, parse_key_rotation_info)
        )

    async def described_nodes(self) -> list[DescribedNode]:
        """What nodes say about themselves: exits with their addresses, and countries."""
        return await self._with_fail_over(lambda api: api.described())

    async def _with_fail_over(self, ask: Callable[[_NymApi], Awaitable[_Body]]) -> _Body:
        error: TopologyError | None = None
        async with aiohttp.ClientSession(
            connector=self.connector_factory() if self.connector_factory is not None else None,
            timeout=aiohttp.ClientTimeout(total=self._options.request_timeout_seconds),
            headers={"User-Agent": "nymgate", "Accept": _JSON},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as http:
            for attempt in range(self._options.attempts * len(self._urls)):
                rounds = attempt // len(self._urls)
                if rounds and attempt % len(self._urls) == 0:
                    longest = self._options.retry_seconds * 2 ** (rounds - 1)
                    await asyncio.sleep(self._rng.uniform(0, longest))
                try:
                    return await ask(
                        _NymApi(http, self.current_url, self._options.body_limit_bytes, self._on_date)
                    )
                except TopologyError as failure:
                    error = failure
                    self._urls.append(self._urls.pop(0))
        assert error is not None
        raise error


class _NymApi:
    """The routes of one address."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base: str,
        limit: int,
        on_date: Callable[[str, float, float], None] | None,
    ) -> None:
        self._http = http
        self._base = base
        self._limit = limit
        self._on_date = on_date

    async def get(self, path: str, parse: Callable[[bytes], _Body], page: int | None = None) -> _Body:
        """One body, parsed."""
        url = self._base + path
        body, _ = await self._fetch(url, page)
        return await self._parse(url, parse, body)

    async def nodes(self, path: str) -> NodesPage:
        """All pages of a node list, put together."""
        url = self._base + path
        whole: NodesPage | None = None
        page = 0
        while whole is None or len(whole.nodes) < whole.total:
            body, content_type = await self._fetch(url, page)
            parse = parse_nodes_page_bincode if content_type == _BINCODE else parse_nodes_page
            part = await self._parse(url, parse, body)
            if part.metadata.status == NO_UPDATES:
                raise MalformedTopology(
                    "metadata.status", "no nodes, although all were asked for", source=url
                )
            if whole is None:
                whole = part
            elif not part.metadata.agrees_with(whole.metadata):
                raise MalformedTopology("metadata", f"changed between pages 0 and {page}", source=url)
            elif not part.nodes:
                raise MalformedTopology(
                    "nodes.pagination.total",
                    f"{whole.total} nodes announced, {len(whole.nodes)} given",
                    source=url,
                )
            else:
                whole = NodesPage(whole.metadata, whole.nodes + part.nodes, whole.total)
            page += 1
        return whole

    async def described(self) -> list[DescribedNode]:
        """All pages of the described nodes, by the older route where there is no newer one."""
        try:
            return await self._described(PATH_DESCRIBED)
        except _NoSuchRoute:
            return await self._described(PATH_DESCRIBED_V1)

    async def _described(self, path: str) -> list[DescribedNode]:
        found: dict[int, DescribedNode] = {}
        seen = page = 0
        while True:
            part: DescribedPage = await self.get(path, parse_described_page, page)
            found.update((node.node_id, node) for node in part.nodes)
            seen += part.listed
            if not part.listed or seen >= part.total:
                return list(found.values())
            page += 1

    async def _fetch(self, url: str, page: int | None) -> tuple[bytes, str]:
        sent = time.time()
        try:
            async with self._http.get(url, params={} if page is None else {"page": page}) as response:
                stated = response.headers.get("Date")
                from_cache = response.headers.get("Age", "0").strip() != "0"
                if stated is not None and not from_cache and self._on_date is not None:
                    self._on_date(stated, sent, time.time())
                body = await self._read(response, url)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NymApiError(f"{url} cannot be reached: {_cause(error)}") from error
        if response.status == 404:
            raise _NoSuchRoute(f"{url} does not exist there: is this the address of a nym-api?")
        if not 200 <= response.status < 300:
            said = printable(body[:300].decode("utf-8", "replace"), 200)
            raise NymApiError(f"{url} answered {response.status}: {said}")
        if not body:
            raise NymApiError(f"{url} answered with an empty body")
        return body, response.content_type

    async def _read(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_any():  # decompressed: the limit holds for what comes out
            size += len(part)
            if size > self._limit:
                raise NymApiError(f"{url} answered with more than {self._limit} bytes")
            parts.append(part)
        return b"".join(parts)

    async def _parse(self, url: str, parse: Callable[[bytes], _Body], body: bytes) -> _Body:
        try:
            return await asyncio.to_thread(parse, body)
        except MalformedTopology as error:
            raise MalformedTopology(error.path, error.problem, source=url) from None


def _cause(error: BaseException) -> str:
    """A few words without anything that the other side could have put in."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


class FileSource:
    """Topology from a ``network.json``, read anew at each refresh."""

    def __init__(self, path: str | Path, *, limit_bytes: int = 64 * 1024 * 1024) -> None:
        self._path = Path(path)
        self._limit = limit_bytes
        self.gateway_scores: dict[bytes, int] = {}
        """Nobody measured these."""

    async def fetch(self) -> Topology:
        return await asyncio.to_thread(self._read)

    async def key_rotation_info(self) -> None:
        return None

    async def described_nodes(self) -> list[DescribedNode]:
        """A file describes nobody."""
        return []

    def _read(self) -> Topology:
        source = str(self._path)
        try:
            with self._path.open("rb") as file:
                data = file.read(self._limit + 1)
        except OSError as error:
            problem = error.strerror or type(error).__name__
            raise BadTopologyFile("", f"cannot be read: {problem}", source=source) from error
        if len(data) > self._limit:
            raise BadTopologyFile("", f"larger than {self._limit} bytes", source=source)
        try:
            return topology_from_network_json(data)
        except MalformedTopology as error:
            raise BadTopologyFile(error.path, error.problem, source=source) from None
