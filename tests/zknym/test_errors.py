"""The error tree is what its docstring draws, and nothing else escapes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.zknym.ecash_world import WORLD
from zknym import EcashError, Fault, SpendExceedsAllowance, errors


def subclasses(root: type[EcashError]) -> Iterator[type[EcashError]]:
    for child in root.__subclasses__():
        yield child
        yield from subclasses(child)


ALL = [error for error in subclasses(EcashError) if error.__module__.startswith("zknym.")]


def test_the_drawing_is_right():
    assert errors.__doc__ is not None
    drawn: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        found = re.match(r"( {4}[│ ]*)[├└]── (\w+)(?: |$)", line)
        if found:
            drawn.append((len(found[1]) // 4, found[2]))
    path: list[str] = ["EcashError"]
    tree = {}
    for depth, name in drawn:
        del path[depth:]
        tree[name] = path[-1]
        path.append(name)
    assert tree == {error.__name__: error.__mro__[1].__name__ for error in ALL}


def test_every_error_says_whose_doing_it_is():
    assert all(isinstance(error.fault, Fault) for error in ALL)
    assert {error.fault for error in ALL} == set(Fault)
    assert issubclass(EcashError, ValueError)


def test_names_of_the_reference_are_unique():
    variants = [error.variant for error in ALL if "variant" in vars(error)]
    assert len(variants) == len(set(variants))
    assert all(re.fullmatch(r"[A-Z]\w+", variant) for variant in variants)


def test_errors_are_exported():
    import zknym

    assert {error.__name__ for error in ALL} <= set(zknym.__all__)


def test_allowance_in_numbers():
    error = SpendExceedsAllowance(3, 2)
    assert (error.spending, error.remaining) == (3, 2)
    assert str(error) == "cannot spend 3 tickets: the book has 2 left; use another book"


def test_payments_are_shown_in_short():
    payment, _ = WORLD.pay(tickets=2)
    assert repr(payment) == "<Payment of 2 of ticket type 0>"
    assert "0x" in repr(payment.proof)
    with pytest.raises(AttributeError):
        payment.spend_value = 3  # type: ignore[misc]
