"""nymgate: a SOCKS and HTTP proxy that sends what applications say through the Nym mixnet.

A room per idea (docs of each in its module):

* ``config``, ``config_layers``, ``config_docs``, ``networks``, ``units``: what can be set, and where a value came from;
* ``detect``, ``handshake``, ``socks4``, ``socks5``, ``http_connect``: what applications say first, told apart and read;
* ``http_message``, ``http_forward``, ``http_forward_io``: plain HTTP requests and their answers;
* ``connection_io``, ``listener_io``, ``server``: the listener, from the first byte to the relay of a stream;
* ``upstream``, ``upstream_io``: what the listener asks for a stream, and the mixnet's answer to that;
* ``wiring``, ``daemon``, ``sleep``, ``exits``, ``directory_io``: one running proxy, put together from a configuration;
* ``money``, ``money_io``, ``purse_io``, ``mixnet_connector_io``: account, tickets and store, and how they are reached;
* ``logs``, ``sensitive``, ``errors``, ``banner``: what is said about all this, and what never is;
* ``cli``: the commands; ``reference``: their pages, written from the code.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nymgate")
except PackageNotFoundError:  # a source tree on the import path that nobody installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
