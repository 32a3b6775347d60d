"""The example of the package's README is short, and it runs."""

from __future__ import annotations

import re
from pathlib import Path

import zknym

README = Path(zknym.__file__).with_name("README.md").read_text(encoding="utf-8")
MOST_LINES = 30


def test_the_example_runs(capsys):
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 1
    code = [line for line in examples[0].splitlines() if line and not line.startswith("#")]
    assert len(code) <= MOST_LINES
    exec(compile(examples[0], "README.md", "exec"), {})
    assert capsys.readouterr().out == "paid 200,000,000 bytes, 49 tickets left\n"


def test_every_name_in_the_table_exists():
    section = README.partition("## Where things are")[2].partition("##")[0]
    table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    names = re.findall(r"`(\w+)(?:\.(\w+))?`", table)
    assert names
    for name, attribute in names:
        assert name in zknym.__all__
        assert not attribute or hasattr(getattr(zknym, name), attribute)
