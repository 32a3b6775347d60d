"""The commands in the how-to pages about money run as they stand, one after the other, on a paying local network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nym_localnet.payment_options import PaymentOptions
from tests.nymgate.paid_world import BLOCK_SECONDS, LIMIT_SECONDS
from tests.nymgate.person import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGES = Path(__file__).parents[1] / "docs" / "how-to"
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n)?```console\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def network():
    payment = PaymentOptions(block_seconds=BLOCK_SECONDS)
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES, pay=True, payment=payment)) as background:
        yield background


def commands(page: str) -> list[str]:
    """The lines that somebody is to type, of the blocks that are not said to be left out."""
    found = [
        line.removeprefix("$ ")
        for left_out, block in BLOCK.findall((PAGES / page).read_text())
        if not left_out
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    assert found
    return found


@pytest.mark.parametrize("page", ["pay.md", "backup-and-restore.md"])
def test_the_page_does_what_it_says(network, tmp_path, page):
    person = Person(network, tmp_path)
    (tmp_path / "phrase").write_text(person.phrase)
    person.with_account(200)
    if page == "pay.md":
        person.json("account", "forget", "--yes")
    else:
        person.json("account", "obtain-ticketbooks", "--amount", 1, "--yes")
    programs = str(Path(sys.executable).parent)
    script = ["set -u"]
    for number, line in enumerate(commands(page)):
        command, _, comment = line.partition(" #")
        code = re.match(r" refused: (E_\w+)", comment)
        script.append(f"echo {number} > at")
        if code is None:
            script.append(f"{command} || exit 1")
        else:
            script.append(f"if {command} 2> error; then exit 2; fi; grep -q {code[1]} error || exit 3")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=person.environ | {"PATH": f"{programs}:{person.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=5 * LIMIT_SECONDS,
        check=False,
    )
    failed = commands(page)[int((tmp_path / "at").read_text())]
    assert done.returncode == 0, f"{failed}: {done.stdout}{done.stderr}"
    assert person.phrase not in done.stdout + done.stderr
