"""The fast way to canonical bytes is the library's, byte for byte, or is not taken."""

from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from infra.chassis.canonical import INTEGER_MAX, canonical_json
from tests.support.cases import cases

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-INTEGER_MAX - 3, INTEGER_MAX + 3)
    | st.floats()
    | st.text(st.characters(), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=6), inner, max_size=5)
    ),
    max_leaves=12,
)


@cases(500)
@given(st.dictionaries(st.text(st.characters(), max_size=6), VALUES, max_size=5))
@example({"b": '\x00\x01\x1f\x7f\x80\u2028"\\/\b\f\n\r\t', "a": 1})
@example({"\U0001f600": 1, "\uffff": 2})
@example({"B": 1, "a": 2, "A": 3, "": 4, "1": 5})
@example({"a": INTEGER_MAX, "b": -INTEGER_MAX, "c": INTEGER_MAX + 1})
@example({"a": -0.0, "b": 1.0, "c": 1e21})
@example({"a": True, "b": 1, "c": None})
def test_every_value_gets_the_librarys_bytes_or_its_refusal(value: dict[str, Any]):
    try:
        expected = rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as refused:
        with pytest.raises(type(refused)):
            canonical_json(value)
        return

    assert canonical_json(value) == expected


def test_a_struct_is_written_as_it_travels_and_its_names_are_in_order():
    class Order(msgspec.Struct, omit_defaults=True):
        zeta: int
        alpha: str = ""

    assert canonical_json(Order(zeta=1)) == b'{"zeta":1}'
    assert canonical_json(Order(zeta=1, alpha="x")) == b'{"alpha":"x","zeta":1}'
