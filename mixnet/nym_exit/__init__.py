"""Byte streams through a Nym network requester, the "exit" (docs/protocol/05).

Where to find what:

* bytes: :mod:`~nym_exit.codec` (messages), :mod:`~nym_exit.control`, :mod:`~nym_exit.exit_policy`,
  :mod:`~nym_exit.bincode`, :mod:`~nym_exit.targets` (destination texts);
* order: :mod:`~nym_exit.ordered_buffer`, :mod:`~nym_exit.controller`;
* a stream's end: :mod:`~nym_exit.stream` (no input or output), :mod:`~nym_exit.stream_io` (on the event loop);
* the client: :mod:`~nym_exit.client_io`; its SURB economy: :mod:`~nym_exit.surb_policy`.
"""

from nym_exit.client_io import OWN_EXIT_NAME, ExitClient, ExitStats
from nym_exit.codec import (
    Connect,
    ConnectionRefused,
    DescriptionAnswer,
    ExitPolicyAnswer,
    NetworkData,
    OpenProxyAnswer,
    Query,
    QueryAnswer,
    QueryErrorAnswer,
    Request,
    RequestMessage,
    Response,
    ResponseMessage,
    Send,
)
from nym_exit.control import (
    BinaryInfo,
    BuildInformation,
    ControlError,
    ControlRequest,
    ControlResponse,
    Health,
    SupportedVersions,
)
from nym_exit.controller import ConnectionTable, Delivery, InboundHalf
from nym_exit.errors import (
    BadTarget,
    ConnectFailed,
    ExitError,
    ExitGone,
    ExitRefused,
    ExitSilent,
    ExitStalled,
    MixnetDown,
    OpenError,
    QueryRefused,
    SequenceError,
    StreamClosed,
    StreamError,
    StreamGap,
    StreamIdle,
    StreamLost,
    StreamOverflow,
    StreamReset,
    TargetSilent,
    TooManyStreams,
    WireError,
)
from nym_exit.exit_policy import ExitPolicy, Refusal, check_target
from nym_exit.facade_io import AsyncStream
from nym_exit.ip_check import is_global
from nym_exit.options import ExitOptions
from nym_exit.ordered_buffer import OrderedBuffer
from nym_exit.ports import ClientPort, StreamConsumer, StreamPort
from nym_exit.stream import Outbound, StreamCore
from nym_exit.stream_io import MixStream
from nym_exit.stream_options import StreamOptions
from nym_exit.surb_policy import SurbPolicy
from nym_exit.targets import format_target, parse_target

__all__ = [
    "OWN_EXIT_NAME",
    "AsyncStream",
    "BadTarget",
    "BinaryInfo",
    "BuildInformation",
    "ClientPort",
    "Connect",
    "ConnectFailed",
    "ConnectionRefused",
    "ConnectionTable",
    "ControlError",
    "ControlRequest",
    "ControlResponse",
    "Delivery",
    "DescriptionAnswer",
    "ExitClient",
    "ExitError",
    "ExitGone",
    "ExitOptions",
    "ExitPolicy",
    "ExitPolicyAnswer",
    "ExitRefused",
    "ExitSilent",
    "ExitStalled",
    "ExitStats",
    "Health",
    "InboundHalf",
    "MixStream",
    "MixnetDown",
    "NetworkData",
    "OpenError",
    "OpenProxyAnswer",
    "OrderedBuffer",
    "Outbound",
    "Query",
    "QueryAnswer",
    "QueryErrorAnswer",
    "QueryRefused",
    "Refusal",
    "Request",
    "RequestMessage",
    "Response",
    "ResponseMessage",
    "Send",
    "SequenceError",
    "StreamClosed",
    "StreamConsumer",
    "StreamCore",
    "StreamError",
    "StreamGap",
    "StreamIdle",
    "StreamLost",
    "StreamOptions",
    "StreamOverflow",
    "StreamPort",
    "StreamReset",
    "SupportedVersions",
    "SurbPolicy",
    "TargetSilent",
    "TooManyStreams",
    "WireError",
    "check_target",
    "format_target",
    "is_global",
    "parse_target",
]
