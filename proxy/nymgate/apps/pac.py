"""The proxy auto-configuration file for browsers: one function of JavaScript that sends everything to the proxy.

It never answers DIRECT, for no host and not as the last of several choices: what a browser cannot get by way of the
proxy it must not get at all. It asks for no address either: ``isInNet``, ``dnsResolve`` and their like make the browser
look up the name, at the resolver of this machine.

``SOCKS5`` rather than ``SOCKS``, which is version 4 to some browsers, and which has no names. ``PROXY`` stands where
nothing speaks SOCKS.
"""

import json
from typing import Final

from nymgate.apps.reachable import Reachable
from nymgate.units import join_address

CONTENT_TYPE: Final = "application/x-ns-proxy-autoconfig"

_FILE: Final = """\
// Everything goes by way of nymgate. There is no DIRECT in this file: while the proxy is away, pages fail to load
// rather than being fetched from this machine.
function FindProxyForURL(url, host) {
  return %s;
}
"""


def pac_file(at: Reachable) -> str:
    """The text of the file, in ASCII; to be served as :data:`CONTENT_TYPE`.

    Without any address browsers are sent to one where nothing listens: an empty answer would mean DIRECT.
    """
    choices = [f"SOCKS5 {join_address(*address)}" for address in at.socks]
    choices += [f"PROXY {join_address(*address)}" for address in at.http if address not in at.socks]
    return _FILE % json.dumps("; ".join(choices) or "PROXY 127.0.0.1:9")
