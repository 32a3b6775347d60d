"""The report of `nymgate privacy`: every judgement there is, the worst first. Pure."""

from typing import Final

from nymgate.privacy.money import money_findings
from nymgate.privacy.report import ORDER, Habits, Identities, Report, Usage
from nymgate.privacy.traffic import traffic_findings

_UNKNOWN: Final = (
    "where the money of the account came from: the transfer to it is public, and so is every other transfer of it",
    "how many others bought a ticketbook on the same days: they are the crowd that a payment hides in",
    "which exits were used, and for what: that is not kept",
    "by which way past purchases went: directly or through the mixnet",
)


def judge(
    habits: Habits,
    usage: Usage,
    *,
    identities: Identities | None = None,
    network: str = "",
    has_store: bool = True,
) -> Report:
    """The report. `identities`: None if the data folder could not be read."""
    findings = traffic_findings(habits, usage, identities)
    if habits.pays or usage.deposits or usage.claims:
        findings += money_findings(habits, usage)
    counted = {
        "deposits": len(usage.deposits),
        "ticketbooks": len(usage.books),
        "tickets_spent": len(usage.claims),
        "days": round(usage.days, 1),
    }
    findings.sort(key=lambda finding: ORDER.index(finding.severity))
    return Report(tuple(findings), counted, network, has_store, _UNKNOWN)
