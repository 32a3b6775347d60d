"""*Health*: does a stream get through, how fast, and if not: which layer."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from grafana.parts import CHOSEN, GREEN, RED, YELLOW, Query, chosen, frame, lines, numbers, quantile, states


def build() -> models.Dashboard:
    ended = f"rate(nymgate_streams_total{CHOSEN}[$__rate_interval])"
    return frame(
        "nymgate-health",
        "nymgate: health",
        "Does a stream get through, how fast, and if not: which layer. What is upstream explains what is downstream: "
        "wallet, chain, signers, tickets, gateway, mixnet, exit, target.",
        (
            "Now",
            (
                numbers(
                    "Streams get through",
                    "bool_yes_no",
                    "As /readyz says.",
                    Query(f"nymgate_ready{CHOSEN}"),
                    width=3,
                    steps=((None, RED), (1, GREEN)),
                ),
                numbers(
                    "Asleep",
                    "bool_yes_no",
                    "No packets are sent for want of streams; the next one wakes it.",
                    Query(f"nymgate_asleep{CHOSEN}"),
                    width=3,
                ),
                numbers(
                    "Time to first byte",
                    "s",
                    "Half of the streams are faster.",
                    Query(quantile(0.5, "nymgate_stream_first_byte_seconds")),
                    width=3,
                ),
                numbers("Streams open", "short", "Now.", Query(f"nymgate_streams_open{CHOSEN}"), width=3),
                numbers(
                    "Exits that work",
                    "short",
                    "In use, open, or known to answer.",
                    Query("nymgate:exits_usable:sum" + CHOSEN),
                    width=3,
                    steps=((None, RED), (1, YELLOW), (2, GREEN)),
                ),
                numbers(
                    "Streams that failed",
                    "percentunit",
                    "Of those that ended in the last five minutes, by no fault of the application.",
                    Query("nymgate:streams_failed:ratio_rate5m" + CHOSEN),
                    width=3,
                    steps=((None, GREEN), (0.05, YELLOW), (0.2, RED)),
                ),
                numbers(
                    "Running for",
                    "s",
                    "Since the start.",
                    Query(f"time() - nymgate_start_time_seconds{CHOSEN}"),
                    width=3,
                ),
                numbers(
                    "Version",
                    "short",
                    "Network and profile as configured.",
                    Query(f"nymgate_build_info{CHOSEN}", "{{version}} {{network}} {{profile}}"),
                    width=3,
                ),
            ),
        ),
        (
            "Layers",
            (
                states(
                    "Failing",
                    "The first one from above is the cause of the others.",
                    Query(f"nymgate_layer_state{chosen(state='failing')}", "{{layer}} {{instance}}"),
                ),
                states(
                    "Degraded",
                    "Works, but not for long, or not as it should.",
                    Query(f"nymgate_layer_state{chosen(state='degraded')}", "{{layer}} {{instance}}"),
                ),
            ),
        ),
        (
            "Streams",
            (
                lines(
                    "Connections that ended, by outcome",
                    "cps",
                    "ok, or the identifier of the refusal; the reference of refusals says what to do.",
                    Query(f"sum by (instance, outcome) ({ended})", "{{outcome}} {{instance}}"),
                    stacked=True,
                ),
                lines(
                    "Time to first byte",
                    "s",
                    "From asking for a stream until its first byte came back.",
                    Query(quantile(0.5, "nymgate_stream_first_byte_seconds"), "half {{instance}}"),
                    Query(quantile(0.95, "nymgate_stream_first_byte_seconds"), "95 % {{instance}}"),
                ),
                lines(
                    "Connections accepted",
                    "cps",
                    "By listening address.",
                    Query(
                        f"rate(nymgate_connections_accepted_total{CHOSEN}[$__rate_interval])",
                        "{{listener}} {{instance}}",
                    ),
                ),
                lines(
                    "Open",
                    "short",
                    "Connections of applications in any phase, streams, and those that wait for a place.",
                    Query(f"nymgate_connections_open{CHOSEN}", "connections {{instance}}"),
                    Query(f"nymgate_streams_open{CHOSEN}", "streams {{instance}}"),
                    Query(f"nymgate_streams_waiting{CHOSEN}", "waiting {{instance}}"),
                ),
                lines(
                    "Exits",
                    "short",
                    "By what is known of them.",
                    Query(f"nymgate_exits{CHOSEN}", "{{state}} {{instance}}"),
                    stacked=True,
                ),
                lines(
                    "Exits that took over",
                    "short",
                    "Since the start.",
                    Query(f"nymgate_exit_failovers_total{CHOSEN}"),
                ),
            ),
        ),
        (
            "Probes",
            (
                lines(
                    "Through the mixnet and back",
                    "s",
                    "Our own message, and a question to the exit; the last ones.",
                    Query(f"nymgate_probe_loop_seconds{CHOSEN}", "loop {{instance}}"),
                    Query(f"nymgate_probe_exit_seconds{CHOSEN}", "exit {{instance}}"),
                ),
                lines(
                    "Probes",
                    "short",
                    "Since the start, and those of them without an answer.",
                    Query(f"nymgate_probes_total{CHOSEN}", "{{probe}} {{instance}}"),
                    Query(f"nymgate_probes_unanswered_total{CHOSEN}", "{{probe}}, unanswered {{instance}}"),
                ),
                lines(
                    "Clock",
                    "s",
                    "This machine's minus the network's, as far as proven. Beyond 20 s tickets are not risked.",
                    Query(f"abs(nymgate_clock_skew_seconds{CHOSEN})"),
                ),
            ),
        ),
        (
            "The process",
            (
                lines(
                    "Event loop is late by",
                    "s",
                    "Above 0.1 s streams stutter.",
                    Query(quantile(0.5, "nymgate_event_loop_lag_seconds"), "half {{instance}}"),
                    Query(quantile(0.99, "nymgate_event_loop_lag_seconds"), "99 % {{instance}}"),
                ),
                lines(
                    "Ticket store takes",
                    "s",
                    "For a transaction.",
                    Query(quantile(0.5, "nymgate_store_transaction_seconds"), "half {{instance}}"),
                    Query(quantile(0.95, "nymgate_store_transaction_seconds"), "95 % {{instance}}"),
                ),
                lines(
                    "Processor",
                    "percentunit",
                    "Of one core, all workers together.",
                    Query(f"rate(nymgate_process_cpu_seconds_total{CHOSEN}[$__rate_interval])"),
                ),
                lines(
                    "Memory",
                    "bytes",
                    "Of all workers.",
                    Query(f"nymgate_process_resident_memory_bytes{CHOSEN}"),
                ),
                lines("Open files", "short", "And sockets.", Query(f"nymgate_process_open_fds{CHOSEN}")),
                lines(
                    "Workers",
                    "short",
                    "That answer, and that there should be.",
                    Query(f"nymgate_workers{CHOSEN}", "answer {{instance}}"),
                    Query(f"nymgate_workers_expected{CHOSEN}", "expected {{instance}}"),
                ),
            ),
        ),
    )
