"""`nymgate privacy`: each judgement by tables, and the whole report over a store with real purchases."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_mixnet.profiles import PROFILES
from nymgate.config_layers import load, settings
from nymgate.privacy.facts_io import identities_in
from nymgate.privacy.findings import judge
from nymgate.privacy.money import NEAR_SECONDS, covered, tail
from nymgate.privacy.report import (
    Book,
    Claim,
    Deposit,
    Finding,
    Habits,
    Identities,
    Report,
    Severity,
    Usage,
)

HIGH, MEDIUM, LOW, UNKNOWN, NONE = Severity
PAYS = Habits(pays=True)
NYM = 1_000_000
DAY = 86_400
BEGIN = 20_700 * DAY + 9 * 3600
OWN = Identities(1, 0)
EMPTY = Usage()


def found(name: str, habits: Habits = PAYS, usage: Usage = EMPTY, identities=OWN) -> Finding:
    [finding] = [item for item in judge(habits, usage, identities=identities).findings if item.name == name]
    return finding


def severity(name: str, habits: Habits = PAYS, usage: Usage = EMPTY, identities=OWN) -> Severity:
    return found(name, habits, usage, identities).severity


def deposit(unix: int, book: int | None = None, account: int = 0, price: int = 75 * NYM) -> Deposit:
    return Deposit(unix, account, price, book)


def book(number: int, unix: int = BEGIN, **how) -> Book:
    known = {"bought": True, "exported": False, "suspect": False, "expiration": date(2026, 9, 10)}
    return Book(number, unix, **(known | how))


def claim(unix: int, number: int = 1, gateway: int | None = 0, *, doubled: bool = False) -> Claim:
    return Claim(unix, number, gateway, accepted=not doubled, doubled=doubled)


# ---- habits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("replies", {}, NONE),
        ("replies", {"anonymous_replies": False}, HIGH),
        ("profile", {}, NONE),
        ("profile", {"profile": PROFILES["fast"]}, LOW),
        ("profile", {"profile": PROFILES["thrifty"]}, LOW),
        ("profile", {"profile": PROFILES["uncovered"]}, HIGH),
        ("address", {}, HIGH),
        ("address", {"through_mixnet": True}, NONE),
        ("one-exit", {}, LOW),
        ("one-exit", {"isolated_by": ()}, MEDIUM),
        ("one-exit", {"isolated_by": ("destination",)}, NONE),
        ("one-exit", {"isolated_by": ("destination",), "exit": "named"}, LOW),
        ("one-exit", {"isolated_by": (), "exit": "named"}, MEDIUM),
        ("one-exit", {"isolated_by": ("destination",), "exit": "a country"}, NONE),
        ("bursts", {}, LOW),
        ("bursts", {"surb_bank": 0}, NONE),
        ("cover-slots", {}, NONE),
        ("cover-slots", {"data_in_cover_slots": True}, LOW),
        ("cover-slots", {"data_in_cover_slots": True, "profile": PROFILES["uncovered"]}, NONE),
        ("hours", {}, MEDIUM),
        ("hours", {"sleep_after_seconds": math.inf}, NONE),
        ("buying-ahead", {}, NONE),
        ("buying-ahead", {"standby": False}, LOW),
        ("buying-ahead", {"tops_up": False}, MEDIUM),
        ("one-gateway", {}, LOW),
        ("one-account", {}, NONE),
        ("first-use", {}, NONE),
        ("deposit-moments", {}, NONE),
    ],
)
def test_what_the_configuration_gives_away(name, change, expected):
    assert severity(name, replace(PAYS, **change)) is expected


@pytest.mark.parametrize(
    ("identities", "expected"),
    [(Identities(0, 0), NONE), (Identities(3, 0), NONE), (Identities(3, 1), HIGH), (None, UNKNOWN)],
)
def test_identities_that_share_keys(identities, expected):
    assert severity("shared-keys", identities=identities) is expected


def test_workers_multiply_what_it_costs():
    [knob] = found("hours", replace(PAYS, workers=3)).knobs
    assert knob.costs == "57 tickets a day, 34 books a month for each of 3 workers."


def test_habits_are_those_of_the_configuration():
    habits = Habits.of(load(environ={}, flags={}).config, pays=True)
    assert habits == PAYS, "the defaults of both"
    flags = {
        "mixnet.entry": "country:CH",
        "mixnet.exit": "country:CH,DE",
        "mixnet.replies": "own-address",
        "mixnet.profile": "fast",
        "mixnet.sleep_after": "never",
        "mixnet.exit_rotation": "2h",
        "tickets.top_up": False,
        "isolation.by": ["destination"],
        "workers": 2,
    }
    changed = Habits.of(load(environ={}, flags=flags).config, pays=False)
    assert changed == Habits(
        pays=False,
        entry="a country",
        exit="a country",
        anonymous_replies=False,
        profile=PROFILES["fast"],
        sleep_after_seconds=math.inf,
        exit_rotation_seconds=7200.0,
        tops_up=False,
        isolated_by=("destination",),
        workers=2,
    )


def test_without_payments_nothing_is_said_of_money():
    names = {finding.name for finding in judge(Habits(pays=False), Usage()).findings}
    assert names == {
        "replies",
        "one-exit",
        "profile",
        "bursts",
        "cover-slots",
        "shared-keys",
        "hours",
        "one-gateway",
    }
    assert "first-use" in {
        finding.name for finding in judge(Habits(pays=False), Usage((deposit(BEGIN),))).findings
    }


# ---- deposits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pauses", "expected"),
    [
        ([30], HIGH),
        ([30, 40], HIGH),
        ([30, 40_000], HIGH),
        ([30, 40_000, 50_000], MEDIUM),
        ([7_000, 40_000], NONE),
        ([599], HIGH),
        ([600], NONE),
    ],
)
def test_use_right_after_the_deposit(pauses, expected):
    usage = Usage(
        tuple(deposit(BEGIN + n * DAY, n) for n in range(len(pauses))),
        tuple(book(n) for n in range(len(pauses))),
        tuple(claim(BEGIN + n * DAY + pause, n) for n, pause in enumerate(pauses)),
    )
    assert severity("first-use", usage=usage) is expected


def test_a_book_that_was_not_used_says_nothing_yet():
    assert severity("first-use", usage=Usage((deposit(BEGIN, 1),), (book(1),))) is UNKNOWN


def daily(weeks: int, use_hour: int = 9, hours: int = 3) -> tuple[Claim, ...]:
    moments = [
        BEGIN // DAY * DAY + day * DAY + use_hour * 3600 + minute * 60
        for day in range(7 * weeks)
        for minute in range(0, hours * 60, 25)
    ]
    return tuple(claim(moment) for moment in moments)


def test_deposits_that_keep_to_the_hours_of_use_are_seen():
    midnight = BEGIN // DAY * DAY
    at_use = tuple(deposit(midnight + week * 7 * DAY + 10 * 3600) for week in range(6))
    finding = found("deposit-moments", usage=Usage(at_use, (), daily(6)))
    assert finding.severity is HIGH
    assert "5 of 5" in finding.seen
    assert {knob.name for knob in finding.knobs} == {"tickets.top_up", "tickets.standby"}


def test_deposits_at_moments_of_their_own_are_not():
    rng = Random(7)
    spread = tuple(sorted((deposit(BEGIN + rng.randrange(42 * DAY)) for _ in range(8)), key=lambda d: d.unix))
    assert severity("deposit-moments", usage=Usage(spread, (), daily(6))) is NONE


def test_who_is_awake_around_the_clock_gives_no_moments_away():
    always = tuple(claim(BEGIN + n * 1500) for n in range(42 * DAY // 1500))
    at_use = tuple(deposit(BEGIN + week * 7 * DAY) for week in range(6))
    assert severity("deposit-moments", usage=Usage(at_use, (), always)) is NONE


def test_few_deposits_are_too_few():
    usage = Usage((deposit(BEGIN), deposit(BEGIN + DAY)), (), (claim(BEGIN + DAY),))
    finding = found("deposit-moments", usage=usage)
    assert finding.severity is UNKNOWN
    assert "too few" in finding.seen


@pytest.mark.parametrize(("count", "expected"), [(0, NONE), (1, LOW), (3, LOW), (4, MEDIUM)])
def test_deposits_of_one_account(count, expected):
    usage = Usage(tuple(deposit(BEGIN + n * DAY) for n in range(count)))
    assert severity("one-account", usage=usage) is expected


def test_accounts_are_counted_apart():
    usage = Usage(tuple(deposit(BEGIN + n * DAY, account=n) for n in range(4)))
    finding = found("one-account", usage=usage)
    assert finding.severity is LOW
    assert "4 accounts" in finding.seen


def test_prices():
    usage = Usage((deposit(BEGIN), deposit(BEGIN + 1, price=60 * NYM)))
    finding = found("amounts", usage=usage)
    assert finding.severity is LOW
    assert "1 at 60 NYM, 1 at 75 NYM" in finding.seen
    assert severity("amounts", usage=Usage((deposit(BEGIN), deposit(BEGIN + 1)))) is NONE


def test_purchases_after_midnight_tell_the_program():
    midnight = BEGIN // DAY * DAY
    weekly = tuple(deposit(midnight + week * 7 * DAY + 45) for week in range(4))
    assert severity("midnight", usage=Usage(weekly)) is LOW
    noon = tuple(deposit(midnight + week * 7 * DAY + 45_000) for week in range(4))
    assert severity("midnight", usage=Usage(noon)) is NONE


@pytest.mark.parametrize(
    ("how", "name", "expected"),
    [
        ({}, "book-files", NONE),
        ({"bought": False}, "book-files", HIGH),
        ({"exported": True}, "book-files", MEDIUM),
        ({"suspect": True}, "double-spending", HIGH),
        ({}, "double-spending", NONE),
    ],
)
def test_books(how, name, expected):
    assert severity(name, usage=Usage((), (book(1, **how),))) is expected


def test_a_ticket_that_somebody_spent_before():
    assert severity("double-spending", usage=Usage((), (), (claim(BEGIN, doubled=True),))) is HIGH


# ---- the gateway ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "sleeps", "expected"),
    [(3, True, MEDIUM), (24, True, LOW), (24, False, NONE), (3, False, MEDIUM)],
)
def test_the_hours_of_the_day(hours, sleeps, expected):
    habits = replace(PAYS, sleep_after_seconds=600.0 if sleeps else math.inf)
    finding = found("hours", habits, Usage((deposit(BEGIN),), (), daily(2, use_hour=0, hours=hours)))
    assert finding.severity is expected
    assert "of the 24 hours" in finding.seen
    assert "57 tickets a day, 34 books a month, 2550 NYM" in finding.knobs[0].costs


def test_accounts_at_gateways():
    usage = Usage(
        (), (), (claim(BEGIN, gateway=0), claim(BEGIN + 5, gateway=1), claim(BEGIN + 9, gateway=None))
    )
    seen = found("one-gateway", usage=usage).seen
    assert "3 tickets to 2 accounts" in seen
    assert "of 1 it is not known" in seen


# ---- numbers -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10 * DAY), max_size=20))
def test_covered_is_what_counting_minutes_says(moments):
    end = 10 * DAY
    counted = sum(
        any(abs(minute * 60 + 30 - moment) <= NEAR_SECONDS for moment in moments)
        for minute in range(end // 60)
    )
    assert covered(sorted(moments), 0, end) == pytest.approx(counted / (end // 60), abs=0.005)


@pytest.mark.parametrize(
    ("count", "at_least", "share", "expected"),
    [(0, 0, 0.5, 1.0), (3, 0, 0.1, 1.0), (3, 3, 0.5, 0.125), (4, 2, 0.25, 67 / 256), (5, 5, 1.0, 1.0)],
)
def test_odds(count, at_least, share, expected):
    assert tail(count, at_least, share) == pytest.approx(expected)


# ---- the report ----------------------------------------------------------------------------------------------


def whole() -> Report:
    usage = Usage((deposit(BEGIN, 1),), (book(1),), (claim(BEGIN + 60),))
    return judge(PAYS, usage, identities=OWN, network="localnet")


def test_the_worst_comes_first_and_every_knob_exists():
    report = whole()
    order = [list(Severity).index(finding.severity) for finding in report.findings]
    assert order == sorted(order)
    names = [finding.name for finding in report.findings]
    assert len(set(names)) == len(names)
    keys = set(settings())
    commands = ("nymgate ", "--")
    for finding in report.findings:
        for knob in finding.knobs:
            assert knob.name in keys or knob.name.startswith(commands), knob.name
            assert knob.costs


def test_text_and_json_say_the_same():
    report = whole()
    shown = json.loads(json.dumps(report.to_json()))
    text = "\n".join(report.lines(everything=True))
    for finding in shown["findings"]:
        assert finding["name"] in text
    assert sum(shown["severities"].values()) == len(shown["findings"])
    assert shown["made_from"]["deposits"] == 1
    short = "\n".join(report.lines())
    assert len(short) < len(text)
    assert "Nothing to be joined by: " in short


def test_keys_in_the_data_folder_are_compared(tmp_path):
    assert identities_in(tmp_path / "none") == Identities(0, 0)
    for folder, key in (("", "A"), ("workers/1", "B"), ("identities/x/y", "A")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "public_identity.pem").write_text(f"-----\r\n{key}\r\n-----\r\n")
    assert identities_in(tmp_path) == Identities(3, 1)
