"""Closes this network namespace for every user but one: `fence.py UID`. Linux, CAP_NET_ADMIN, no libraries.

Three routing rules for IPv4 and IPv6 do it, asked in this order after the one for local addresses, which stays:

    100  user UID                      → the main table, as before
    101  to a network of FENCE_CLIENTS → the main table, so that an application can answer those that it serves
    102  everybody else                → prohibited

Run again it finds them there. It ends with an error, and the pod does not start, if it cannot show that the way is
closed: a packet of its own, for it runs as another user, has to be refused.
"""

import errno
import ipaddress
import os
import socket
import struct
import sys

NETLINK_ROUTE = 0
RTM_NEWRULE = 32
NLMSG_ERROR = 2
FLAGS = 0x01 | 0x04 | 0x200 | 0x400  # request, acknowledge, fail if it exists, create
FRA_DST, FRA_PRIORITY, FRA_TABLE, FRA_UID_RANGE = 1, 6, 15, 20
TO_TABLE, PROHIBIT = 1, 8
TABLE_MAIN = 254
PROBES = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # addresses of documentation


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def rule(
    family: int, priority: int, action: int, *, uid: int | None = None, to: bytes = b"", bits: int = 0
) -> bytes:
    """One request to add a rule: struct fib_rule_hdr and its attributes."""
    table = TABLE_MAIN if action == TO_TABLE else 0
    body = struct.pack("=BBBBBBBBI", family, bits, 0, 0, table, 0, 0, action, 0)
    body += attribute(FRA_PRIORITY, struct.pack("=I", priority))
    if action == TO_TABLE:
        body += attribute(FRA_TABLE, struct.pack("=I", table))
    if uid is not None:
        body += attribute(FRA_UID_RANGE, struct.pack("=II", uid, uid))
    if to:
        body += attribute(FRA_DST, to)
    return struct.pack("=IHHII", 16 + len(body), RTM_NEWRULE, FLAGS, priority, 0) + body


def add(netlink: socket.socket, request: bytes) -> None:
    """Send it and read the answer. OSError unless it was taken, or was there already."""
    netlink.send(request)
    answer = netlink.recv(65536)
    (kind,) = struct.unpack_from("=H", answer, 4)
    (code,) = struct.unpack_from("=i", answer, 16)
    if kind != NLMSG_ERROR or (code and -code != errno.EEXIST):
        raise OSError(-code, f"a rule was not taken: {os.strerror(-code)}")


def is_closed(family: socket.AddressFamily) -> bool:
    """Whether this process, which is not the user let out, is refused a way."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((PROBES[family], 9))  # sends nothing: it only looks for the way
        except OSError as error:
            return error.errno == errno.EACCES
    return False


def main() -> None:
    uid = int(sys.argv[1])
    if uid == os.getuid():
        sys.exit("fence: the user that is let out must not be the one that this runs as")
    clients = [ipaddress.ip_network(text) for text in os.environ.get("FENCE_CLIENTS", "").split(",") if text]
    families = [socket.AF_INET]
    if os.path.exists("/proc/net/if_inet6"):
        families.append(socket.AF_INET6)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as netlink:
        for family in families:
            add(netlink, rule(family, 100, TO_TABLE, uid=uid))
            for network in clients:
                if network.version == (4 if family == socket.AF_INET else 6):
                    to = network.network_address.packed
                    add(netlink, rule(family, 101, TO_TABLE, to=to, bits=network.prefixlen))
            add(netlink, rule(family, 102, PROHIBIT))
    if not all(map(is_closed, families)):
        sys.exit("fence: the rules are in place, and yet there is a way out")
    sys.stdout.write(f"fence: closed for everybody but user {uid}\n")


if __name__ == "__main__":
    main()
