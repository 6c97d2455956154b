"""Go's words for what is no JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing.kinds.gosyntax import syntax_error

END = "unexpected end of JSON input"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", END),
        (b"  ", END),
        (b"{", END),
        (b'{"a', END),
        (b'{"a"', END),
        (b'{"a":', END),
        (b"[1,", END),
        (b"-", END),
        (b"1.", END),
        (b"1e", END),
        (b"tr", END),
        (b'"\\', END),
        (b'"\\u00', END),
        (b"{not json", "invalid character 'n' looking for beginning of object key string"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"'", "invalid character '\\'' looking for beginning of value"),
        (b"\x9e", "invalid character '\\u009e' looking for beginning of value"),
        (b"\xe9", "invalid character '\u00e9' looking for beginning of value"),
        (b"\x00", "invalid character '\\x00' looking for beginning of value"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"{} {", "invalid character '{' after top-level value"),
        (b"01", "invalid character '1' after top-level value"),
        (b"-x", "invalid character 'x' in numeric literal"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"1e+x", "invalid character 'x' in exponent of numeric literal"),
        (b"nul1", "invalid character '1' in literal null (expecting 'l')"),
        (b'"\n"', "invalid character '\\n' in string literal"),
        (b'"\\x"', "invalid character 'x' in string escape code"),
        (b'"\\u00g0"', "invalid character 'g' in \\u hexadecimal character escape"),
        (b' {"a": [1, -0.5e+3, true, null, "\\u00e9\\n", {}, []]} ', ""),
    ],
)
def test_words(data: bytes, why: str) -> None:
    assert syntax_error(data) == why


@settings(max_examples=40, deadline=None)
@given(
    st.text(alphabet='{}[]:,"\\u0aet-+.1 truefalsn') | st.recursive(st.none() | st.integers(), st.lists).map(json.dumps)
)
def test_nothing_is_found_where_nothing_is_wrong(text: str) -> None:
    try:
        json.loads(text, parse_constant=float.fromhex)
    except ValueError:
        assert syntax_error(text.encode()) != ""
    else:
        assert syntax_error(text.encode()) == ""
