"""The reference page of the traffic profiles: what each sends, costs and shows. All numbers are the profiles' own."""

from typing import Final

from nym_mixnet.profiles import PROFILES

HEAD: Final = """\
# Traffic profiles

<!-- Written by `make reference` from proxy/nymgate/profile_docs.py and the profiles themselves. -->

What one client sends while it is awake and nobody uses it, and what that costs. A ticket carries 200 MB into an entry
gateway, and a book has 50 of them, to be spent within seven days. Real traffic takes the place of cover traffic, so a
busy client costs no more than an idle one until it fills the slots of its profile; `uncovered` costs what is sent. Each
worker and each isolation identity is a client of its own.

| | packets/s | a day awake | tickets an hour | tickets a day | upload at most | mean mixing delay each way |
|---|---|---|---|---|---|---|"""
TAIL: Final = """
What an observer of the line between you and the entry gateway learns:
"""


def profiles_page() -> str:
    """The page."""
    lines = [HEAD]
    for profile in PROFILES.values():
        costs = profile.costs()
        bound = costs.upload_bound_bytes_per_second
        lines.append(
            f"| `{profile.name}` | {costs.packets_per_second:.1f} | {costs.bytes_per_day / 1e9:.2f} GB | "
            f"{costs.tickets_per_hour:.2f} | {costs.tickets_per_day:.1f} | "
            f"{f'{bound / 1000:.1f} kB/s' if bound is not None else 'no limit of its own'} | "
            f"{costs.mean_mix_delay_seconds * 1000:.0f} ms |"
        )
    lines.append(TAIL)
    lines += [f"* `{profile.name}`: {profile.observer}." for profile in PROFILES.values()]
    return "\n".join(lines) + "\n"
