"""*Tickets and money*: what is left, what was spent, for how long it lasts, and what keeps more from coming.

Numbers of the ticket store are those of an instance and are never added up: instances with one PostgreSQL all report
the same tickets.
"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as models

from grafana.parts import CHOSEN, GREEN, RED, YELLOW, Query, chosen, frame, lines, numbers, states

TICKETS_PER_BOOK: Final = 50
_ENTRY: Final = chosen(type="v1-mixnet-entry")
_HOUR: Final = 3600


def build() -> models.Dashboard:
    price = f"nymgate_ticketbook_price_nym{CHOSEN} / {TICKETS_PER_BOOK}"
    return frame(
        "nymgate-money",
        "nymgate: tickets and money",
        "What is left, what was spent, for how long it lasts, and what keeps more from coming. Instances that share a "
        "PostgreSQL all report the same tickets.",
        (
            "Now",
            (
                numbers(
                    "Tickets left",
                    "short",
                    "Tickets that can be spent today. One is worth 200 MB at an entry gateway.",
                    Query(f"nymgate_tickets_remaining{_ENTRY}"),
                    steps=((None, RED), (1, YELLOW), (10, GREEN)),
                ),
                numbers(
                    "They last for",
                    "s",
                    "As projected from use, cover traffic included.",
                    Query(f"nymgate_tickets_projected_seconds{CHOSEN}"),
                    steps=((None, RED), (1 * _HOUR, YELLOW), (6 * _HOUR, GREEN)),
                ),
                numbers(
                    "Cost of a day, as used",
                    "NYM",
                    "Tickets that a day takes, as projected from use, at the price of the last ticketbook.",
                    Query(f"nymgate_tickets_projected_per_day{CHOSEN} * {price}"),
                ),
                numbers(
                    "Cost of an hour awake",
                    "NYM",
                    "By the traffic profile, for each mixnet identity, whether anything is sent or not.",
                    Query(f"nymgate_profile_tickets_per_hour{CHOSEN} * {price}"),
                ),
                numbers(
                    "In the account",
                    "NYM",
                    "When it was asked last.",
                    Query(f"nymgate_account_balance_nym{CHOSEN}"),
                    steps=((None, RED), (75, YELLOW), (150, GREEN)),
                ),
                numbers(
                    "Left of the budget",
                    "NYM",
                    "What may still be spent in this UTC day and month.",
                    Query(f"nymgate_budget_left_nym{CHOSEN}", "{{period}} {{instance}}"),
                ),
            ),
        ),
        (
            "Tickets",
            (
                lines(
                    "Tickets left and in use",
                    "short",
                    "In use: handed out, and their fate is not known yet.",
                    Query(f"nymgate_tickets_remaining{_ENTRY}", "left {{instance}}"),
                    Query(f"nymgate_tickets_in_use{_ENTRY}", "in use {{instance}}"),
                ),
                lines(
                    "Tickets spent an hour",
                    "short",
                    "Credited by gateways.",
                    Query(f"rate(nymgate_tickets_spent_total{_ENTRY}[$__rate_interval]) * {_HOUR}"),
                ),
                lines(
                    "Spent and lost, in all",
                    "short",
                    "Over the life of the store. Given up: paid for and never credited, as far as is known. Expired: "
                    "died unused, for a book lives seven days whatever is left in it.",
                    Query(f"nymgate_tickets_spent_total{_ENTRY}", "spent {{instance}}"),
                    Query(f"nymgate_tickets_given_up_total{_ENTRY}", "given up {{instance}}"),
                    Query(f"nymgate_tickets_expired_total{_ENTRY}", "expired {{instance}}"),
                ),
                lines(
                    "Tickets left by the days they live",
                    "short",
                    "UTC days beyond today.",
                    Query(
                        f"sum by (instance, days_left) (nymgate_tickets_by_expiry{CHOSEN})",
                        "{{days_left}} days {{instance}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "Books by state",
                    "short",
                    "Suspect: not used before the network has confirmed it. Exported: spent elsewhere.",
                    Query(f"sum by (instance, state) (nymgate_books{CHOSEN})", "{{state}} {{instance}}"),
                ),
                lines(
                    "What became of tickets",
                    "short",
                    "Over the life of the store; all but accepted are worth a look.",
                    Query(f"nymgate_tickets_settled_total{CHOSEN}", "{{settlement}} {{instance}}"),
                ),
            ),
        ),
        (
            "Money",
            (
                lines(
                    "In the account",
                    "NYM",
                    "When it was asked last.",
                    Query(f"nymgate_account_balance_nym{CHOSEN}"),
                ),
                lines(
                    "Spent on ticketbooks",
                    "NYM",
                    "Price and the chain's fee, over the life of the store.",
                    Query(f"nymgate_spent_nym_total{CHOSEN}", "{{on}} {{instance}}"),
                    stacked=True,
                ),
                lines(
                    "Budget",
                    "NYM",
                    "Left of what may be spent in this UTC day and month, and the limits.",
                    Query(f"nymgate_budget_left_nym{CHOSEN}", "left, {{period}} {{instance}}"),
                    Query(f"nymgate_budget_limit_nym{CHOSEN}", "limit, {{period}} {{instance}}"),
                ),
                lines(
                    "Price of a ticketbook",
                    "NYM",
                    "What the last one cost.",
                    Query(f"nymgate_ticketbook_price_nym{CHOSEN}"),
                ),
                lines(
                    "Deposits",
                    "short",
                    "Ticketbooks paid for, and payments whose fate is open.",
                    Query(f"nymgate_deposits_total{CHOSEN}", "paid {{instance}}"),
                    Query(f"nymgate_deposits_open{CHOSEN}", "open {{instance}}"),
                ),
                lines(
                    "Age of the balance",
                    "s",
                    "Since the account was asked.",
                    Query(f"time() - nymgate_account_balance_timestamp_seconds{CHOSEN}"),
                ),
            ),
        ),
        (
            "Top-up",
            (
                states(
                    "Supply of tickets",
                    "Degraded: works, but not for long. Exhausted: nothing gets through.",
                    Query(
                        f"nymgate_supply_state{chosen(state='~degraded|exhausted')}", "{{state}} {{instance}}"
                    ),
                ),
                states(
                    "What keeps a ticketbook from being bought",
                    "By the identifier of the error; the reference of refusals says what to do.",
                    Query(f"nymgate_topup_hindrance{CHOSEN}", "{{code}} {{instance}}"),
                ),
                lines(
                    "Bought by itself",
                    "short",
                    "Ticketbooks since the start, and whether buying is switched on.",
                    Query(f"nymgate_topup_books_bought_total{CHOSEN}", "bought {{instance}}"),
                    Query(f"nymgate_topup_enabled{CHOSEN}", "switched on {{instance}}"),
                ),
                lines(
                    "Purchases on their way",
                    "short",
                    "Begun and no ticketbook yet; none should stay for long.",
                    Query(f"nymgate_purchases_unfinished{CHOSEN}", "{{state}} {{instance}}"),
                ),
                lines(
                    "Errors of signers",
                    "short",
                    "Purchases that a signer kept from getting on, since the start, and in a row until now.",
                    Query(
                        f"sum by (instance, signer) (nymgate_signer_errors_total{CHOSEN})"
                        f" or nymgate_topup_enabled{CHOSEN} * 0",
                        "{{signer}} {{instance}}",
                    ),
                    Query(
                        f"nymgate_signer_failures_in_a_row{CHOSEN} or nymgate_topup_enabled{CHOSEN} * 0",
                        "in a row: {{signer}} {{instance}}",
                    ),
                ),
            ),
        ),
    )
