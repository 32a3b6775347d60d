"""*Traffic and privacy*: what leaves this machine, how much of it is cover, and whether the pattern holds."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.parts import CHOSEN, GREEN, RED, YELLOW, Query, chosen, frame, lines, numbers, quantile


def build() -> models.Dashboard:
    sent = f"rate(nymgate_packets_sent_total{CHOSEN}[$__rate_interval])"
    cover = f"rate(nymgate_packets_sent_total{chosen(kind='cover')}[$__rate_interval])"
    again = f"rate(nymgate_packets_sent_total{chosen(kind='retransmitted')}[$__rate_interval])"
    used = f"rate(nymgate_gateway_used_bytes_total{CHOSEN}[$__rate_interval])"
    return frame(
        "nymgate-traffic",
        "nymgate: traffic and privacy",
        "What leaves this machine, how much of it is cover, and whether the pattern of the profile holds. An observer "
        "of the line sees the sum of packets sent, and when it is zero.",
        (
            "Now",
            (
                numbers(
                    "Packets sent",
                    "pps",
                    "All kinds together: what an observer of the line can count.",
                    Query(f"sum by (instance) ({sent})"),
                ),
                numbers(
                    "Cover among them",
                    "percentunit",
                    "Of the packets sent. With the profile standard it falls while data is sent and the sum stays.",
                    Query(f"sum by (instance) ({cover}) / sum by (instance) ({sent})"),
                ),
                numbers(
                    "Empty slots",
                    "pps",
                    "Slots in which nothing could be sent. Above zero for long, the pattern shows what this machine "
                    "cannot keep up with.",
                    Query(f"rate(nymgate_packets_empty_slots_total{CHOSEN}[$__rate_interval])"),
                    steps=((None, GREEN), (1, YELLOW), (10, RED)),
                ),
                numbers(
                    "Sent again",
                    "percentunit",
                    "Of the packets sent, for want of an ack.",
                    Query(f"sum by (instance) ({again}) / sum by (instance) ({sent})"),
                    steps=((None, GREEN), (0.1, YELLOW), (0.3, RED)),
                ),
                numbers(
                    "Acks within",
                    "s",
                    "Half of them.",
                    Query(quantile(0.5, "nymgate_ack_seconds")),
                    steps=((None, GREEN), (2, YELLOW), (10, RED)),
                ),
                numbers(
                    "Allowance at the gateway",
                    "decbytes",
                    "Of the link that has least. The next ticket goes there when a fifth of the last one is left.",
                    Query(f"nymgate_gateway_allowance_lowest_bytes{CHOSEN}"),
                ),
            ),
        ),
        (
            "The line",
            (
                lines(
                    "Packets sent",
                    "pps",
                    "Real: with data, for the first time.",
                    Query(sent, "{{kind}} {{instance}}"),
                    stacked=True,
                ),
                lines(
                    "Packets received",
                    "pps",
                    "Own cover that comes back is the proof that the mixnet carries.",
                    Query(
                        f"rate(nymgate_packets_received_total{CHOSEN}[$__rate_interval])",
                        "{{kind}} {{instance}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "Identities by what they do",
                    "short",
                    "Asleep: no packets, no cost, and an observer sees that nobody uses it. Each that is awake costs "
                    "the same.",
                    Query(f"nymgate_identities{CHOSEN}", "{{state}} {{instance}}"),
                    stacked=True,
                ),
                lines(
                    "Bytes of applications",
                    "Bps",
                    "What they sent and got through streams.",
                    Query(
                        f"rate(nymgate_stream_bytes_total{CHOSEN}[$__rate_interval])",
                        "{{direction}} {{instance}}",
                    ),
                ),
                lines(
                    "Bytes charged by the gateway",
                    "Bps",
                    "Cover, acks and padding included: what tickets are spent for.",
                    Query(used),
                ),
                lines(
                    "Slots and losses",
                    "pps",
                    "Slots in which nothing could be sent, and packets that were given up.",
                    Query(
                        f"rate(nymgate_packets_empty_slots_total{CHOSEN}[$__rate_interval])",
                        "empty slots {{instance}}",
                    ),
                    Query(
                        f"rate(nymgate_packets_lost_total{CHOSEN}[$__rate_interval])", "given up {{instance}}"
                    ),
                ),
            ),
        ),
        (
            "Acks, queues, replies",
            (
                lines(
                    "Time until the ack",
                    "s",
                    "Of packets with data.",
                    Query(quantile(0.5, "nymgate_ack_seconds"), "half {{instance}}"),
                    Query(quantile(0.95, "nymgate_ack_seconds"), "95 % {{instance}}"),
                ),
                lines(
                    "Packets that wait",
                    "short",
                    "Queued: for a slot. In flight: for an ack.",
                    Query(f"nymgate_packets_queued{CHOSEN}", "queued {{instance}}"),
                    Query(f"nymgate_packets_in_flight{CHOSEN}", "in flight {{instance}}"),
                ),
                lines(
                    "Reply SURBs at exits",
                    "short",
                    "What an exit needs to answer with, and cannot make itself. Below what is wanted, downloads wait.",
                    Query(f"nymgate_surbs_supplied{CHOSEN}", "there {{instance}}"),
                    Query(f"nymgate_surbs_wanted{CHOSEN}", "wanted {{instance}}"),
                ),
                lines(
                    "Reply SURBs made",
                    "short",
                    "A second, and the packets that carried nothing else.",
                    Query(f"rate(nymgate_surbs_made_total{CHOSEN}[$__rate_interval])", "SURBs {{instance}}"),
                    Query(
                        f"rate(nymgate_surb_supply_packets_total{CHOSEN}[$__rate_interval])",
                        "packets {{instance}}",
                    ),
                ),
            ),
        ),
        (
            "The gateway",
            (
                lines(
                    "Allowance",
                    "decbytes",
                    "What entry gateways still forward: all links, and the one that has least.",
                    Query(f"nymgate_gateway_allowance_bytes{CHOSEN}", "all {{instance}}"),
                    Query(f"nymgate_gateway_allowance_lowest_bytes{CHOSEN}", "least {{instance}}"),
                ),
                lines(
                    "Bought and used",
                    "decbytes",
                    "Since the start.",
                    Query(f"nymgate_gateway_bought_bytes_total{CHOSEN}", "bought {{instance}}"),
                    Query(f"nymgate_gateway_used_bytes_total{CHOSEN}", "used {{instance}}"),
                ),
                lines(
                    "Links by state",
                    "short",
                    "One for each identity that is awake.",
                    Query(f"nymgate_gateway_links{CHOSEN}", "{{state}} {{instance}}"),
                    stacked=True,
                ),
                lines(
                    "Sessions",
                    "short",
                    "Since the start: sessions that came up, that had to be made anew, and packets not forwarded.",
                    Query(f"nymgate_gateway_sessions_total{CHOSEN}", "sessions {{instance}}"),
                    Query(f"nymgate_gateway_reconnects_total{CHOSEN}", "made anew {{instance}}"),
                    Query(f"nymgate_gateway_packets_refused_total{CHOSEN}", "packets refused {{instance}}"),
                ),
                lines(
                    "Tickets shown to gateways",
                    "short",
                    "Since the start, by outcome.",
                    Query(f"nymgate_gateway_claims_total{CHOSEN}", "{{outcome}} {{instance}}"),
                ),
            ),
        ),
    )
