"""The rows of `nymgate exits`: what the directory says of each exit, and whether this configuration may use it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nym_exit.exit_policy import ExitPolicy
from nym_sphinx import Recipient, b58encode
from nymgate.exits.choice import ExitCandidate, Verdict, Wish, verdict

NOTED_PORTS: Final = (
    21,
    22,
    25,
    53,
    80,
    110,
    143,
    443,
    465,
    587,
    853,
    993,
    995,
    5222,
    6667,
    6697,
    8080,
    8333,
    9418,
    18080,
)
"""FTP, SSH, SMTP, DNS, web, mail, chat, git and coins: what people ask about first."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What an exit said when it was asked."""

    answered: bool
    latency_seconds: float | None = None
    policy: ExitPolicy | None = None


def exit_rows(
    exits: Sequence[ExitCandidate],
    reachable: Collection[bytes],
    wish: Wish,
    entry: bytes | None,
    probed: Mapping[Recipient, Probed] | None = None,
) -> list[dict[str, Any]]:
    """One row for each exit, by country, the best first. ``entry``: the gateway in use or to be used, if known."""
    rows = [
        _row(exit_, _usable(exit_, reachable, wish, entry), (probed or {}).get(exit_.recipient))
        for exit_ in exits
    ]
    return sorted(
        rows,
        key=lambda row: (row["country"] or "~", -(row["performance_percent"] or 0), row["identity"]),
    )


def _usable(exit_: ExitCandidate, reachable: Collection[bytes], wish: Wish, entry: bytes | None) -> str:
    gateway = exit_.recipient.gateway
    if gateway == entry:
        return "at the entry gateway"
    if gateway not in reachable:
        return "not in the topology"
    if wish.recipient is not None and wish.recipient != exit_.recipient:
        return "not the one of mixnet.exit"
    if not wish.allows(gateway, exit_.country):
        return (
            "not the one of mixnet.exit" if wish.identity is not None else "not in a country of mixnet.exit"
        )
    return "yes"


def _row(exit_: ExitCandidate, usable: str, probed: Probed | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "identity": b58encode(exit_.recipient.gateway),
        "address": str(exit_.recipient),
        "country": exit_.country,
        "performance_percent": exit_.score,
        "policy": "exit policy" if exit_.uses_exit_policy else "open",
        "usable": usable == "yes",
        "why_not": None if usable == "yes" else usable,
    }
    if probed is not None:
        row["answers"] = probed.answered
        row["latency_seconds"] = None if probed.latency_seconds is None else round(probed.latency_seconds, 3)
        row["ports"] = None if probed.policy is None else ports_of(probed.policy)
    return row


def ports_of(policy: ExitPolicy) -> dict[str, list[int]]:
    """Which of the noted ports a policy permits for names, by what can be told without resolving one."""
    said = {port: verdict(policy, "name.invalid", port) for port in NOTED_PORTS}
    return {
        each.value: [port for port, found in said.items() if found is each]
        for each in (Verdict.PERMITTED, Verdict.DENIED, Verdict.UNKNOWN)
    }


def exit_lines(rows: Sequence[dict[str, Any]], *, probed: bool) -> list[str]:
    """As text. Identities are for copying (``--exit IDENTITY``), so nothing is cut."""
    if not rows:
        return ["The network lists no exits here."]
    head = f"{'identity':<44}  {'country':<7}  {'performance':>11}  {'policy':<11}"
    lines = [head + (f"  {'answers':<8}  {'usable':<30}  denied ports" if probed else "  usable")]
    for row in rows:
        percent = row["performance_percent"]
        performance = "-" if percent is None else f"{percent} %"
        line = f"{row['identity']:<44}  {row['country'] or '-':<7}  {performance:>11}  {row['policy']:<11}"
        usable = "yes" if row["usable"] else f"no, {row['why_not']}"
        lines.append(
            line + (f"  {_answer(row):<8}  {usable:<30}  {_denied(row)}" if probed else f"  {usable}")
        )
    return [line.rstrip() for line in lines]


def _answer(row: dict[str, Any]) -> str:
    if "answers" not in row:
        return "-"
    latency = row["latency_seconds"]
    return "no" if not row["answers"] else "yes" if latency is None else f"{latency:.2f} s"


def _denied(row: dict[str, Any]) -> str:
    ports = row.get("ports")
    if ports is None:
        return "-"
    denied = [str(port) for port in ports["denied"]]
    some = [f"{port} but for some addresses" for port in ports["unknown"]]
    return ", ".join(denied + some) or "none of those looked at"
