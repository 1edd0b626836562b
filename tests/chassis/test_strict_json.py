import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.chassis.strict_json import DEPTH_MAX, NotStrictJson, decode


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":9223372036854775808}',
        b'{"a":-9223372036854775809}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
        b"{",
        b"",
        b"{} {}",
        b'{"a":"\\ud800"}',
        b'{"a":["\\u0000"]}',
        b'{"\\udfff":1}',
    ],
)
@pytest.mark.control("UC-E.1")
def test_a_body_with_two_meanings_or_none_is_refused(body: bytes):
    with pytest.raises(NotStrictJson):
        decode(body)


@pytest.mark.control("UC-L.1")
def test_the_refusal_never_repeats_the_input():
    with pytest.raises(NotStrictJson) as refused:
        decode(b'{"4242424242424242":1,"4242424242424242":2}')

    assert "4242" not in str(refused.value)


def test_brackets_inside_strings_are_not_nesting():
    assert decode(b'{"a":"' + b"[" * 100 + b'\\"["}') == {"a": "[" * 100 + '"['}


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_what_json_says_once_is_read_as_it_is(value: object):
    assert decode(json.dumps(value).encode()) == value
