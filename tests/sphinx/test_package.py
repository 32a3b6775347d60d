"""The package as a newcomer meets it: its example, its names, its errors."""

from __future__ import annotations

import doctest
import inspect
import re

import nym_sphinx
from nym_sphinx import SYSTEM_RNG, SphinxError, errors


def test_example_in_the_docstring_runs():
    failed, attempted = doctest.testmod(nym_sphinx)
    assert attempted >= 8
    assert failed == 0


def test_public_names_exist():
    assert sorted(nym_sphinx.__all__) == sorted(set(nym_sphinx.__all__))
    for name in nym_sphinx.__all__:
        assert hasattr(nym_sphinx, name)


def test_error_tree_is_drawn_as_it_is():
    raised = {
        name: error
        for name, error in vars(errors).items()
        if inspect.isclass(error) and issubclass(error, Exception)
    }
    drawn = {}
    ancestors = ["SphinxError"]
    for line in errors.__doc__.splitlines():
        if match := re.match(r"( {4}(?:│   )*)[├└]── (\w+)", line):
            depth = len(match[1]) // 4
            drawn[match[2]] = ancestors[depth - 1]
            ancestors[depth:] = [match[2]]
    assert drawn == {
        name: error.__base__.__name__ for name, error in raised.items() if error is not SphinxError
    }
    assert issubclass(SphinxError, ValueError)
    assert all(error.__doc__ for error in raised.values())
    assert raised.keys() <= set(nym_sphinx.__all__)


def test_production_randomness_is_the_operating_systems():
    assert len(SYSTEM_RNG.randbytes(32)) == 32
    assert SYSTEM_RNG.randbytes(32) != SYSTEM_RNG.randbytes(32)
