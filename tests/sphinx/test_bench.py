"""The benchmark of packets runs and its figures hang together."""

from __future__ import annotations

import pytest

from bench import bench_sphinx


@pytest.mark.parametrize("speed", [None, 35_000.0], ids=["without openssl", "with openssl"])
def test_every_row_is_measured(monkeypatch, capsys, speed):
    monkeypatch.setattr(bench_sphinx, "openssl_speed", lambda: speed)
    monkeypatch.setattr(bench_sphinx, "_ROUND_NS", 1)
    bench_sphinx.main(1)
    printed = capsys.readouterr().out
    names = [name for name, *_ in bench_sphinx.cases()]
    assert all(name in printed for name in names)
    assert "aim: 1500/s" in printed


def test_bound_is_a_share(monkeypatch):
    monkeypatch.setattr(bench_sphinx, "openssl_speed", lambda: None)
    rows = bench_sphinx.run(1)
    for row in rows:
        assert row.per_second == pytest.approx(1e6 / row.microseconds)
        assert row.at_30k == row.at_30k_exchange
        assert row.bound == pytest.approx(row.floor_microseconds / row.microseconds, rel=0.2)
