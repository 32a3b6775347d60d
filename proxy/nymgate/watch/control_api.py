"""The control API as a table: what can be asked and told, and how; the reference page is written from it. Pure."""

from dataclasses import dataclass
from typing import Final

from nymgate.watch.events import KINDS

PREFIX: Final = "/api"
API_CODE: Final = "E_API"
"""The identifier where the request itself is refused: by whom, how or what it asks."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that the API does."""

    name: str
    """Of its handler."""
    method: str
    path: str
    """Below :data:`PREFIX`."""
    says: str
    """For the reference page, and for `GET /api/`."""
    takes: str = ""
    """Parameters."""


OPERATIONS: Final = (
    Operation("index", "GET", "/", "This list."),
    Operation(
        "status",
        "GET",
        "/status",
        "What `nymgate status --json` prints: the verdict, layers, tickets, budget, costs of all profiles, exits, "
        "streams, privacy.",
    ),
    Operation(
        "health",
        "GET",
        "/health",
        "The verdict alone, as at `/readyz`: 200 if streams get through, else 503.",
    ),
    Operation(
        "snapshot",
        "GET",
        "/snapshot",
        "All numbers that the metrics are made from; with several workers those of all together.",
    ),
    Operation(
        "tickets", "GET", "/tickets", "Tickets, books, purchases, budget and top-up: 404 if nothing is paid."
    ),
    Operation(
        "exits",
        "GET",
        "/exits",
        "Every exit that the identities know, with its standing. Names exits in full.",
    ),
    Operation(
        "plan", "GET", "/topup/plan", "What `nymgate topup plan --json` prints.", "`days`, 0.1 to 31 (7)"
    ),
    Operation(
        "buy",
        "POST",
        "/topup/now",
        "Buys one ticketbook now if the budget permits, as `nymgate topup now --yes`, and answers when it is in "
        "the store; or shows price and what the budget says.",
        'JSON, `{"dry_run": true}` to pay nothing',
    ),
    Operation(
        "reload",
        "POST",
        "/reload",
        "Reads the configuration again, as SIGHUP does. What changed, or why not, is in the log.",
    ),
    Operation(
        "drain",
        "POST",
        "/drain",
        "Takes no more connections, lets open streams end for as long as `streams.drain` says, and ends, as SIGTERM "
        "does.",
    ),
    Operation(
        "logs", "GET", "/logs", "The last lines of the log, without destinations whatever `[log]` says."
    ),
    Operation(
        "events",
        "GET",
        "/events",
        "What happens, as server-sent events, until the connection is closed.",
    ),
)

PAGE_HEAD: Final = """\
# Control API

<!-- Written by `make reference` from proxy/nymgate/watch/control_api.py and events.py. -->

What the commands do, for programs: JSON over HTTP. It is served at two places, with the same paths:

- at the control socket `control.sock` in the network's data folder, for this user of this machine, without a token:
  `curl --unix-socket ~/.local/share/nymgate/mainnet/control.sock http://localhost/api/status`;
- at `listen.web`, with the token of `listen.web_token_file` (else of the file `web.token` in the same folder):
  `curl -H "Authorization: Bearer $(cat …/web.token)" http://127.0.0.1:9471/api/status`.

Requests that a browser makes for another site are refused at `listen.web`, token or not, and so are those that ask by
a name that is neither `localhost` nor in `listen.web_names`. Keep the token secret: it can spend money, within the
budget.

Errors are `{"error": {"code", "layer", "what", "todo"}}`, with the identifiers of [refusals](refusals.md) and of the
commands, and `E_API` where the request itself is refused. Status codes: 400 wrong parameters, 401 no or a wrong token,
402 not enough funds or tickets, 403 refused by budget, policy or access rules, 404 there is no such thing here, 405
not with this method, 409 somebody else is at it, 503 the network is out of reach.

| | does | takes |
|---|---|---|"""

EVENTS_HEAD: Final = f"""
## Events

`GET {PREFIX}/events` first sends a `status` event with the whole status, then one event for each change, and a comment
line every 15 seconds. The data of each is a JSON object with `at_unix` and what is listed here. Changes are looked for
once a second. No event names a destination, a user, an account or a ticket.

| event | when |
|---|---|"""


def control_page() -> str:
    """The reference page."""
    lines = [PAGE_HEAD]
    lines += [f"| `{one.method} {PREFIX}{one.path}` | {one.says} | {one.takes} |" for one in OPERATIONS]
    lines.append(EVENTS_HEAD)
    lines += [f"| `{kind}` | {says} |" for kind, says in KINDS.items()]
    return "\n".join(lines) + "\n"
