"""JSON of other programs: fields given twice."""

from __future__ import annotations

import json

import pytest

from nym_mixnet.wire_json import Fields, JsonFaultError, load_json


def test_a_field_given_twice_is_named_and_others_are_read():
    fields = Fields(load_json('{"a":1,"b":2,"a":1,"c":{"d":0,"d":0}}'))
    assert fields.u8("b") == 2
    with pytest.raises(JsonFaultError, match="a: given more than once"):
        fields.u8("a")
    with pytest.raises(JsonFaultError, match=r"c\.d: given more than once"):
        fields.object("c").u8("d")


def test_a_huge_object_with_one_field_twice_takes_no_quadratic_time():
    names = [f"n{number}" for number in range(200_000)]
    text = "{" + ",".join(f"{json.dumps(name)}:0" for name in [*names, names[0]]) + "}"
    fields = Fields(load_json(text))
    assert fields.u8(names[-1]) == 0
    with pytest.raises(JsonFaultError, match="n0: given more than once"):
        fields.u8(names[0])
