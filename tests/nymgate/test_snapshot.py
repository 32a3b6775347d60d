"""Snapshots survive the way between processes, and those of several workers become one."""

import dataclasses
import json

import pytest
from hypothesis import given, settings

from nymgate.watch.health import Health, Layer, State
from nymgate.watch.snapshot import (
    SHORT_SECONDS_BOUNDS,
    Histogram,
    Links,
    Money,
    Packets,
    Process,
    Purse,
    Snapshot,
    Streams,
    Tally,
    TicketStock,
    TopUp,
    merge,
)
from nymgate.watch.snapshot_json import from_json, plain, to_json
from tests.nymgate.snapshots import snapshots


@given(snapshots())
@settings(deadline=None, max_examples=60)
def test_a_snapshot_comes_back_from_json_as_it_was(snapshot):
    assert from_json(to_json(snapshot)) == snapshot


def test_one_of_another_version_is_read_as_far_as_it_goes():
    data = plain(Snapshot(version="9", network="mainnet"))
    data["a later invention"] = [1]
    del data["workers"]
    read = from_json(json.dumps(data))
    assert (read.version, read.workers) == ("9", 1)


@pytest.mark.parametrize("text", ["", "[]", '{"workers": "3"}', '{"links": 1}', '{"workers": true}', "null"])
def test_rubbish_is_refused(text):
    with pytest.raises(ValueError):
        from_json(text)


def test_infinity_is_no_json_and_comes_back_as_none_or_infinity():
    snapshot = Snapshot(money=Money(topup=TopUp(runs_out_unix=float("inf"))))
    assert "Infinity" not in to_json(snapshot)
    assert from_json(to_json(snapshot)).money.topup.runs_out_unix is None


def worker(taken, *, sent, remaining, lowest, ready=True):
    return Snapshot(
        taken_unix=taken,
        started_unix=taken - 100,
        version="1",
        network="localnet",
        health=Health(
            ready=ready,
            state=State.OK if ready else State.FAILING,
            layers=(Layer("exit", State.OK if ready else State.FAILING, what="" if ready else "silent"),),
            workers_ready=int(ready),
        ),
        money=Money(
            purse=Purse({"v1-mixnet-entry": TicketStock(remaining=remaining)}), topup=TopUp(bought=1)
        ),
        links=Links(states={"ready": 1}, allowance_bytes=lowest, allowance_lowest_bytes=lowest),
        packets=Packets(sent_first=sent),
        streams=Streams(ended={"127.0.0.1:1080": {"ok": sent, "E_EXIT_SILENT": 1}}),
        process=Process(loop_lag_seconds=Histogram(SHORT_SECONDS_BOUNDS, (1,) * 10, 0.5)),
    )


def test_counters_of_workers_are_summed_and_the_store_is_counted_once():
    merged = merge(
        [worker(20.0, sent=5, remaining=40, lowest=7), worker(10.0, sent=8, remaining=41, lowest=9)]
    )
    assert merged.workers == 2
    assert merged.packets.sent_first == 13
    assert merged.money.purse.tickets["v1-mixnet-entry"].remaining == 40, "of the newest: they share a store"
    assert merged.money.topup.bought == 2
    assert merged.links == Links(states={"ready": 2}, allowance_bytes=16, allowance_lowest_bytes=7)
    assert merged.streams.ended == {"127.0.0.1:1080": {"ok": 13, "E_EXIT_SILENT": 2}}
    assert merged.process.loop_lag_seconds == Histogram(SHORT_SECONDS_BOUNDS, (2,) * 10, 1.0)
    assert (merged.taken_unix, merged.started_unix, merged.uptime_seconds) == (20.0, -90.0, 110.0)


def test_a_worker_without_money_does_not_hide_that_of_another():
    broke = dataclasses.replace(worker(30.0, sent=1, remaining=0, lowest=0), money=None)
    merged = merge([broke, worker(10.0, sent=8, remaining=41, lowest=9)])
    assert merged.money.purse.tickets["v1-mixnet-entry"].remaining == 41


def test_workers_are_ready_when_half_of_them_are():
    def ready(*which, expected=None):
        ones = [worker(1.0, sent=0, remaining=0, lowest=0, ready=one) for one in which]
        return merge(ones, expected=expected).health

    assert (ready(True, True).ready, ready(True, True).state) == (True, State.OK)
    one_of_two = ready(True, False)
    assert (one_of_two.ready, one_of_two.state, one_of_two.layer) == (True, State.DEGRADED, "exit")
    assert one_of_two.what.startswith("1 of 2 workers are ready.")
    assert ready(True, False, False).ready is False
    assert ready(True, expected=4).ready is False, "three have not said anything"
    assert ready(False).ready is False
    assert (ready(True, True).workers_ready, ready(True, expected=4).workers) == (2, 4)


@given(snapshots(), snapshots(), snapshots())
@settings(deadline=None, max_examples=30)
def test_merging_does_not_depend_on_the_order_of_workers_for_counters(one, two, three):
    def sums(merged):
        return (merged.packets.sent_first, merged.links.states, merged.streams.ended, merged.workers)

    assert (
        sums(merge([one, two, three]))
        == sums(merge([three, one, two]))
        == sums(merge([merge([one, two]), three]))
    )


def test_nothing_to_merge():
    with pytest.raises(ValueError):
        merge([])


def test_a_tally_counts_into_its_buckets():
    tally = Tally((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.5, 9.0):
        tally.add(value)
    assert tally.seen() == Histogram((1.0, 2.0), (2, 1, 2), 14.5)
    assert tally.seen().count == 5
    assert (tally.seen().quantile(0.4), tally.seen().quantile(0.5), tally.seen().quantile(1)) == (
        1.0,
        2.0,
        2.0,
    )
    assert Histogram().quantile(0.5) is None


def test_histograms_of_different_bounds_are_not_mixed():
    mine, other = Histogram((1.0,), (1, 0), 0.5), Histogram((2.0,), (3, 3), 9.0)
    assert mine.plus(other) == mine
    assert Histogram().plus(other) == other
