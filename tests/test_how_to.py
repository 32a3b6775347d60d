"""The programs in the how-to pages run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "test-against-a-localnet.md"


@pytest.mark.slow
def test_the_example_of_a_test_against_a_localnet_passes(pytester: pytest.Pytester) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    pytester.makepyfile(program)
    pytester.runpytest_subprocess("-p", "no:randomly").assert_outcomes(passed=1)
