"""Which streams get a mixnet identity of their own, and how many of those there may be."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from nymgate.sections.types import PositiveDuration, Section, duration_setting, finite, setting

IsolationKind = Literal["credential", "token", "user", "listener", "destination", "client"]


class Isolation(Section):
    """Which streams get a mixnet identity of their own. Each costs as much as a proxy of its own while awake."""

    by: list[IsolationKind] = setting(
        ["credential", "token", "user"],
        "What keeps streams apart. Streams that agree in all of these share an identity: keys, gateway account, "
        "exit, reply packets and tickets; streams for which none of them says anything use the default one. "
        "credential: the user name and password of SOCKS or of Proxy-Authorization, as sent; token: the header "
        "X-Tor-Stream-Isolation; user: the user of the users file; listener: the address connected to; destination: "
        "the host; client: the address that connects. An empty list turns isolation off.",
        'a list of "credential", "token", "user", "listener", "destination", "client"',
    )
    max_identities: Annotated[int, Field(ge=1, le=1000)] = setting(
        8,
        "Identities at once, beside the default one. When one more is wanted, the one without streams that was used "
        "longest ago is closed; when all have streams, the new stream is refused (E_ISOLATION_LIMIT).",
        "a whole number from 1 to 1000",
    )
    keep: PositiveDuration = duration_setting(
        1800.0,
        "How long an identity without streams stays connected before it is closed. It sleeps long before "
        "(mixnet.sleep_after), and then costs nothing.",
        never=True,
    )
    forget: Annotated[PositiveDuration, AfterValidator(finite)] = duration_setting(
        604_800.0,
        "How long the keys of a closed identity are kept, for the same caller to come back to the same identity and "
        "to what is left of its paid allowance. Then they are erased, and the caller gets a new one.",
    )
