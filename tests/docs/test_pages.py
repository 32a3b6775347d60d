"""The manual holds: it builds without a warning, and what its pages say to type does what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, pages
from tests.interop.namespace import unshare_command

PAGES = {str(path.relative_to(ROOT / "docs")): path for path in pages()}
RUN = {name: path for name, path in PAGES.items() if any(b.reason is None for b in blocks(path.read_text()))}


@pytest.mark.slow
def test_the_manual_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial" / "first-traffic.html").exists()


def test_blocks_are_read_as_a_reader_does() -> None:
    text = (
        "```console\n$ one --with \\\n    two\nout …put\n```\n\n"
        "<!-- not run: no such thing -->\n```console\n$ three\n```\n"
        "<!-- set up: four\nfive -->\n<!-- typed: six -->\n```console\n$ seven  # refused: E_EIGHT\n```\n"
    )
    first, second, third = blocks(text)
    assert [command.text for command in first.commands] == ["one --with \\\n    two"]
    assert first.commands[0].missing("x\nout and put\n") == []
    assert first.commands[0].missing("output") == ["out …put"]
    assert (first.reason, second.reason) == (None, "no such thing")
    assert [command.text for command in third.before] == ["four", "five"]
    assert (third.typed, third.commands[0].refused, third.before[0].refused) == ("six", "E_EIGHT", None)


def test_the_tutorial_is_run() -> None:
    assert "tutorial/first-traffic.md" in RUN


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(RUN))
def test_what_a_page_says_to_type_does_what_it_says(name: str, tmp_path: Path) -> None:
    command = unshare_command()
    if command is None or shutil.which("mount") is None:
        pytest.skip("needs network and mount namespaces")
    done = subprocess.run(
        [
            *command,
            "--mount",
            "sh",
            "-c",
            'ip link set lo up && exec "$@"',
            "sh",
            sys.executable,
            "-m",
            "tests.docs.run_page",
            str(RUN[name]),
            str(tmp_path),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "commands: " in done.stdout
