"""What a worker process does with its commands, tried in this process."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from nym_localnet import worker
from nym_localnet.control import Answer, Command
from nym_localnet.host_io import HostSettings, NodeHost
from nym_localnet.options import LocalnetOptions
from nym_localnet.plan import plan_network


def settings(folder: Path) -> HostSettings:
    return HostSettings(data_dir=str(folder), durable=False, rotation_id=1, free_allowance_bytes=10**9)


async def test_commands_are_carried_out_in_order_until_the_input_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda descriptor, data: written.append(data))
    plans = list(plan_network(LocalnetOptions(exits=0), bytes(32)))
    commands = [
        Command("start", {"plans": [plan.to_json() for plan in plans]}, 1),
        Command("set_faults", {"name": "mix1", "changes": {"loss": 0.5}}),
        Command("rotate", {"rotation_id": 2}, 2),
        Command("restart", {"name": "gateway1"}, 3),
        Command("refresh", {}, 4),
        Command("counters", {"name": "mix1"}, 5),
    ]
    lines = asyncio.StreamReader()
    lines.feed_data(json.dumps(settings(tmp_path).to_json()).encode() + b"\n")
    for command in commands:
        lines.feed_data(command.encode())
    lines.feed_eof()
    await worker.serve(lines)
    answers = [Answer.decode(line) for line in written]
    assert [answer.id for answer in answers] == [1, 2, 3, 4, 5]
    assert [answer.error for answer in answers] == [None] * 5
    assert set(answers[0].result) == {plan.name for plan in plans}
    assert answers[4].result["mix"]["received"] == 0


async def test_errors_are_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    host = NodeHost(settings(tmp_path))
    for command, reason in (
        (Command("nonsense", {}, 1), "unknown command"),
        (Command("counters", {"name": "mix9"}, 2), "no node mix9"),
        (Command("counters", {}, 3), "KeyError"),
    ):
        answer = await worker.answer(host, command)
        assert answer is not None
        assert answer.error is not None
        assert reason in answer.error
    assert await worker.answer(host, Command("nonsense")) is None
    await host.close()
    caplog.clear()  # these errors are meant to be in the log
