"""nymgate: a SOCKS and HTTP proxy that sends what applications say through the Nym mixnet.

A room per idea (docs of each in its module):

* ``config``, ``config_layers``, ``config_docs``, ``networks``, ``units``: what can be set, and where a value came from;
* ``detect``, ``handshake``, ``socks4``, ``socks5``, ``http_connect``: what applications say first, told apart and read;
* ``http_message``, ``http_forward``, ``http_forward_io``: plain HTTP requests and their answers;
* ``connection_io``, ``listener_io``, ``server``: the listener, from the first byte to the relay of a stream;
* ``upstream``, ``upstream_io``: what the listener asks for a stream, and the mixnet's answer to that;
* ``wiring``, ``daemon``, ``sleep``, ``exits``, ``directory_io``: one running proxy, put together from a configuration;
* ``money``, ``money_io``, ``store_place``, ``budget``, ``mixnet_connector_io``: account, tickets and store, what may be
  spent, and how all of that is reached;
* ``purse_io``, ``purse_sources_io``, ``topup_*``, ``burn_feed_io``, ``supply``: the money side of a running proxy;
* ``library_io``, ``stream_transport_io``, ``httpx_io``, ``aiohttp_io``: the same inside another program;
* ``reachable``, ``proxy_variables``, ``exec_*``: other programs told of the proxy, or kept from everything else;
* ``logs``, ``sensitive``, ``errors``, ``banner``: what is said about all this, and what never is;
* ``cli``: the commands; ``reference``: their pages, written from the code.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nymgate.apps.httpx_io import httpx_transport
    from nymgate.apps.library_io import Gateway
    from nymgate.errors import NymgateError

    __version__: str

__all__ = ["Gateway", "NymgateError", "__version__", "httpx_transport"]

_PLACES = {
    "Gateway": "nymgate.apps.library_io",
    "NymgateError": "nymgate.errors",
    "httpx_transport": "nymgate.apps.httpx_io",
}


def __getattr__(name: str) -> Any:
    """What is heavy, or needs something optional, is imported by whoever uses it."""
    if name == "__version__":
        return _version()
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nymgate")
    except PackageNotFoundError:  # a source tree on the import path that nobody installed
        return "0+unknown"
