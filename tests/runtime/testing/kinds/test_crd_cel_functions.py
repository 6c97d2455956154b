"""Every function, macro and operator that a rule may use, with what it is worth."""

from __future__ import annotations

import pytest

from runtime.testing.kinds.crds.cel.program import compile_rule
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.types import type_of
from runtime.testing.kinds.crds.cel.values import to_cel
from runtime.testing.kinds.crds.schema import compile_schema
from tests.runtime.testing.kinds.kinds_helpers import JSON

TEXT: JSON = {"type": "string"}
SCHEMA: JSON = {
    "type": "object",
    "properties": {
        "s": TEXT,
        "n": {"type": "integer"},
        "r": {"type": "number"},
        "l": {"type": "array", "items": {"type": "integer"}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        "o": {"type": "object", "properties": {"a": TEXT, "b": TEXT}},
        "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
        "other": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
        "keyed": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": TEXT, "v": TEXT}},
        },
        "day": {"type": "string", "format": "date"},
        "wait": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "i": {"x-kubernetes-int-or-string": True},
        "none": {"type": "string", "nullable": True},
        "x-y": {"type": "integer"},
    },
}
VALUE: JSON = {
    "s": "ab,c",
    "n": 7,
    "r": 2,
    "l": [3, 1, 2],
    "m": {"a": 1, "b": 2},
    "o": {"a": "x"},
    "set": ["p", "q"],
    "other": ["q", "p"],
    "keyed": [{"k": "1", "v": "a"}, {"k": "2", "v": "b"}],
    "day": "2024-02-29",
    "wait": "1h30m",
    "raw": "aGk=",
    "i": "5%",
    "none": None,
    "x-y": 3,
}

TRUE = """
    self.n + 1 == 8 && self.n - 10 == -3 && -self.n == -7
    7 / 2 == 3 && -7 / 2 == -3 && 7 % 2 == 1 && -7 % 2 == -1
    self.r == 2.0 && self.r < 3 && self.n > 6.5 && 1u < 2 && 2.0 > 1u
    0.1 + 0.2 > 0.3 && 1.0 / 0.0 > 1e300 && 5u - 3u == 2u
    'a' + 'b' == 'ab' && b'a' + b'\\x62' == b'ab' && [1] + [2] == [1, 2]
    'b' > 'a' && b'b' >= b'a' && true > false
    self.s.size() == 4 && size(self.l) == 3 && size(self.m) == 2 && size(self.raw) == 2
    self.l[0] == 3 && self.m['b'] == 2 && self.m.a == 1
    2 in self.l && !(9 in self.l) && 'a' in self.m && !('z' in self.m)
    has(self.o.a) && !has(self.o.b) && !has(self.none)
    self.n > 5 ? self.s == 'ab,c' : false
    self.l[9] == 1 || true
    !(false && self.l[9] == 1)
    self.l.all(x, x > 0) && self.l.exists(x, x == 2) && self.l.exists_one(x, x > 2) && self.l.existsOne(x, x == 1)
    self.l.exists(x, 6 / (x - 3) == -3)
    self.l.map(x, x * 2) == [6, 2, 4] && self.l.map(x, x > 1, x) == [3, 2] && self.l.filter(x, x < 3) == [1, 2]
    self.m.all(k, k < 'c') && self.m.exists(k, self.m[k] == 2) && self.m.map(k, k).size() == 2
    self.l.all(i, x, x >= i) && self.l.exists(i, x, i == 2 && x == 2) && self.m.existsOne(k, v, v == 1)
    self.l.transformList(i, x, x + i) == [3, 2, 4] && self.l.transformList(i, x, i > 0, x) == [1, 2]
    self.m.transformMap(k, v, v * 10) == {'a': 10, 'b': 20} && self.m.transformMap(k, v, v > 1, v) == {'b': 2}
    self.m.transformMapEntry(k, v, {v: k}) == {1: 'a', 2: 'b'}
    self.m.transformMapEntry(k, v, v > 1, {k: v}) == {'b': 2}
    type(self.n) == int && type(self.s) == string && type(self.l) == list && type(self.m) == map
    type(self.day) == google.protobuf.Timestamp && type(1u) == uint && type(null) == null_type
    type(type(1)) == type
    int('12') == 12 && int(2.9) == 2 && int(-2.9) == -2 && uint(3) == 3u && double('1.5') == 1.5 && double(2) == 2.0
    string(3) == '3' && string(1.0) == '1' && string(2.5) == '2.5' && string(true) == 'true' && string(b'hi') == 'hi'
    bool('true') && !bool('f') && bytes('hi') == b'hi' && dyn(1) == 1
    string(duration('90m')) == '5400s' && string(self.wait) == '5400s' && string(duration('-1.5s')) == '-1.5s'
    self.wait == duration('90m') && self.wait.getHours() == 1 && self.wait.getMinutes() == 90
    self.wait.getSeconds() == 5400 && duration('1500ms').getMilliseconds() == 1500 && duration('2s') > duration('1s')
    self.day.getFullYear() == 2024 && self.day.getMonth() == 1 && self.day.getDate() == 29
    self.day.getDayOfMonth() == 28
    self.day.getDayOfWeek() == 4 && self.day.getDayOfYear() == 59 && self.day.getHours('+02:00') == 2
    timestamp('2024-01-01T10:20:30.5Z').getMinutes() == 20
    timestamp('2024-01-01T10:20:30.5Z').getMilliseconds() == 500
    self.day + duration('24h') == timestamp('2024-03-01T00:00:00Z') && self.day - self.day == duration('0')
    timestamp(0) == timestamp('1970-01-01T00:00:00Z') && int(timestamp(5)) == 5
    string(timestamp('2024-01-01T00:00:00+01:00')) == '2024-01-01T00:00:00+01:00'
    self.s.contains('b,') && self.s.startsWith('a') && self.s.endsWith('c') && self.s.matches('^[a-c,]+$')
    self.s.charAt(1) == 'b' && self.s.indexOf(',') == 2 && self.s.indexOf('a', 1) == -1 && 'aXa'.lastIndexOf('a') == 2
    'aXa'.lastIndexOf('a', 1) == 0 && 'x'.indexOf('') == 0 && self.l.indexOf(1) == 1 && [1, 2, 1].lastIndexOf(1) == 2
    'Äb'.lowerAscii() == 'Äb' && 'aB'.upperAscii() == 'AB' && '  x '.trim() == 'x'
    'aaa'.replace('a', 'b') == 'bbb' && 'aaa'.replace('a', 'b', 2) == 'bba' && 'ab'.replace('', '-') == '-a-b-'
    self.s.split(',') == ['ab', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c'] && 'ab'.split('') == ['a', 'b']
    'a'.split(',', 0) == [] && self.s.substring(1, 3) == 'b,' && self.s.substring(2) == ',c'
    ['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && strings.quote('a"b') == r'"a\\"b"'
    'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b2'.findAll('[0-9]', 1) == ['1']
    'ab'.find('a|ab') == 'a' && 'abaab'.findAll('a*') == ['a', 'aa', ''] && 'É7'.find(r'\\p{Lu}') == 'É'
    '%s %d %f %.2f'.format(['x', 1, 1.5, 2.0]) == 'x 1 1.500000 2.00'
    '%%%x %X %o %b'.format([255, 255, 8, 5]) == '%ff FF 10 101'
    '%s %s %s'.format([[1, 'a'], {'k': true}, null]) == '[1, "a"] {"k":true} null'
    '%e'.format([1200.0]) == '1.200000\u00d710⁰³'
    '%s'.format([self.wait]) == '5400s' && '%b'.format([true]) == '1' && '%x'.format(['hi']) == '6869'
    [1, 2, 2].isSorted() && ![2, 1].isSorted() && self.l.sum() == 6 && self.l.max() == 3 && self.l.min() == 1
    [].sum() == 0 && [1.5, 2.5].sum() == 4.0 && ['b', 'a'].min() == 'a'
    [duration('1s'), duration('2s')].sum() == duration('3s')
    self.l.slice(1, 3) == [1, 2] && self.l.reverse() == [2, 1, 3] && self.l.sort() == [1, 2, 3]
    lists.range(3) == [0, 1, 2]
    [1, 1, 2].distinct() == [1, 2] && [[1], [2, 3]].flatten() == [1, 2, 3] && [[[1]]].flatten(2) == [1]
    self.l.sortBy(x, -x) == [3, 2, 1]
    sets.contains([1, 2, 3], [3, 1]) && sets.equivalent([1, 1], [1]) && sets.intersects([1, 2], [2, 9])
    !sets.intersects([1], [2])
    self.set == self.other && self.set + ['p', 'z'] == ['z', 'q', 'p'] && self.set != ['p']
    self.keyed == [self.keyed[1], self.keyed[0]] && (self.keyed + self.keyed).size() == 2
    quantity('1Gi').isGreaterThan(quantity('500Mi')) && quantity('1').isLessThan(quantity('2')) && isQuantity('1k')
    !isQuantity('1Zi')
    quantity('1k').add(quantity('1')) == quantity('1001') && quantity('5').sub(2) == quantity('3')
    quantity('1000m').compareTo(quantity('1')) == 0
    quantity('2k').asInteger() == 2000 && quantity('1.5').isInteger() == false
    quantity('500m').asApproximateFloat() == 0.5
    sign(quantity('-3')) == -1 && quantity('50k').isInteger()
    isIP('10.0.0.1') && !isIP('10.0.0.256') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback()
    ip('0.0.0.0').isUnspecified()
    ip('169.254.1.1').isLinkLocalUnicast() && ip('224.0.0.5').isLinkLocalMulticast()
    ip('8.8.8.8').isGlobalUnicast() && string(ip('::1')) == '::1'
    ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && type(ip('::1')) == net.IP
    ip('10.0.0.1') == ip('10.0.0.1')
    isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && cidr('10.0.0.0/8').containsIP('10.1.2.3')
    !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))
    cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))
    cidr('10.0.0.0/8').prefixLength() == 8
    cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.1.2.3/8').ip() == ip('10.1.2.3')
    string(cidr('10.0.0.0/8')) == '10.0.0.0/8'
    url('https://u@a.example:8443/p%20q?x=1&x=2&y=').getHost() == 'a.example:8443'
    url('https://a:1/').getHostname() == 'a' && url('https://a:1/').getPort() == '1'
    url('https://a/p q').getEscapedPath() == '/p%20q'
    url('https://a/?x=1&x=2&y=').getQuery() == {'x': ['1', '2'], 'y': ['']} && url('/p').getScheme() == ''
    isURL('https://a') && isURL('mailto:x') && !isURL('../x') && url('https://[::1]:80/').getHostname() == '::1'
    semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))
    semver('v1.2', true) == semver('1.2.0')
    semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3
    isSemver('1.2.3+b') && !isSemver('1.2')
    semver('1.0.0-2').compareTo(semver('1.0.0-10')) == -1 && semver('1.0.0+a').compareTo(semver('1.0.0+b')) == 0
    !format.dns1123Label().validate('ok').hasValue() && format.dns1123Label().validate('Not').hasValue()
    format.named('uuid').hasValue()
    !format.named('nope').hasValue() && format.qualifiedName().validate('a/b/c').hasValue()
    !format.labelValue().validate('').hasValue()
    self.?s.orValue('z') == 'ab,c' && self.o.?b.orValue('z') == 'z' && self.?o.?b.hasValue() == false
    self.?o.a.value() == 'x'
    self.m[?'a'].value() == 1 && !self.m[?'z'].hasValue() && self.l[?0] == optional.of(3)
    self.l[?9] == optional.none()
    optional.of(1).or(optional.of(2)).value() == 1 && optional.none().or(optional.of(2)).value() == 2
    !optional.ofNonZeroValue('').hasValue()
    self.m[?'a'].optMap(v, v + 1).value() == 2 && !self.m[?'z'].optMap(v, v + 1).hasValue()
    self.m[?'a'].optFlatMap(v, optional.of(v)).value() == 1
    [?self.m[?'z'], 5] == [5] && {?'k': self.m[?'a']} == {'k': 1}
    type(self.i) == string ? self.i.endsWith('%') : self.i > 0
    self.i != 5 && self.x__dash__y == 3
    r'\\d' == '\\\\d' && 'A' == 'A' && '''a'b''' == "a'b" && "\\u00e4" == 'ä' && '\\x41\\101' == 'AA'
"""


def _rules(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _worth(rule: str) -> object:
    kind = type_of(SCHEMA)
    assert kind is not None
    value, _ = compile_rule(rule, kind, optional_old_self=False).evaluate(
        {"self": to_cel(compile_schema(SCHEMA), VALUE)}
    )
    return value


@pytest.mark.parametrize("rule", _rules(TRUE))
def test_what_holds(rule: str) -> None:
    assert _worth(rule) is True


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self.l[9] == 1", "index out of bounds: 9"),
        ("self.m['z'] == 1", "no such key: z"),
        ("self.o.b == ''", "no such key: b"),
        ("1 / (self.n - 7) == 1", "division by zero"),
        ("1 % (self.n - 7) == 1", "modulus by zero"),
        ("9223372036854775807 + self.n > 0", "integer overflow"),
        ("0u - uint(self.n) > 0u", "unsigned integer overflow"),
        ("int('x') == 1", "invalid syntax"),
        ("int(1e30) == 1", "integer overflow"),
        ("duration(self.s) == duration('1s')", "invalid duration"),
        ("timestamp(self.s) == timestamp('2024-01-01T00:00:00Z')", "parsing time"),
        ("quantity(self.s).isInteger()", "quantities must match"),
        ("ip(self.s).family() == 4", "parse error"),
        ("ip('::ffff:1.2.3.4').family() == 4", "IPv4-mapped"),
        ("cidr('10.0.0.0/08').prefixLength() == 8", "parse error"),
        ("url('x').getHost() == ''", "invalid URI"),
        ("semver(self.s).major() == 1", "not a semantic version"),
        ("[].max() == 1", "max called on empty list"),
        ("self.s.substring(9) == ''", "index out of range: 9"),
        ("self.s.substring(3, 1) == ''", "invalid substring range"),
        ("self.l.slice(2, 1) == []", "start index must be less than or equal to end index"),
        ("lists.range(1000000000000).size() > 0", "more than 10000000 elements"),
        ("'%d'.format(['x']) == ''", "no formatting function"),
        ("'%s %s'.format(['x']) == ''", "out of range"),
        ("{self.l: 1}.size() == 1", "unsupported key type"),
        ("{self.o: 1}.size() == 1", "unsupported key type"),
        ("optional.none().value() == 1", "dereference"),
        ("dyn(self.s) + dyn(1) == dyn(1)", "no such overload"),
        ("self.i + 1 == 6", "no such overload"),
        ("self.l.all(x, 6 / (x - 3) > -9)", "division by zero"),
        ("self.day.getHours('Nowhere/Else') == 1", "unknown time zone"),
        (
            "{'a': 1}.transformMapEntry(k, v, {'b': v}).size() == 1 && self.m.transformMapEntry(k, v, {'b': v}) == {}",
            "already exists",
        ),
    ],
)
def test_what_cannot_be_evaluated(rule: str, why: str) -> None:
    with pytest.raises(CelError, match=why.replace("(", "\\(")):
        _worth(rule)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self.n == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.s == null", "found no matching overload for '_==_' applied to '(string, null)'"),
        ("self.n + 1.0 > 2.0", "found no matching overload for '_+_' applied to '(int, double)'"),
        ("self.o == {'a': 'x'}", "found no matching overload for '_==_'"),
        ("self.s.size(1) == 1", "found no matching overload for 'size' applied to 'string.(int)'"),
        ("self.nope == 1", "undefined field 'nope'"),
        ("has(self.o.nope)", "undefined field 'nope'"),
        ("self.s.x == 1", "type 'string' does not support field selection"),
        ("other == 1", "undeclared reference to 'other' (in container '')"),
        ("self.s.shout() == ''", "undeclared reference to 'shout'"),
        ("self.n.all(x, true)", "cannot be range of a comprehension"),
        ("self.l.all(x, x)", "ERROR: <input>:1:15: expected type 'bool' but found 'int'"),
        ("true || self.n || false", "ERROR: <input>:1:13: expected type 'bool' but found 'int'"),
        ("true && self.n + 1", "ERROR: <input>:1:16: expected type 'bool' but found 'int'"),
        ("self.l.all(self.n, true)", "argument must be a simple name"),
        ("self.l.all(x, x, true)", "duplicate iteration variable name: x"),
        ("has(self)", "invalid argument to has() macro"),
        ("[1, 'a'].size() == 2", "expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': ''}.size() == 2", "expected type 'int' but found 'string'"),
        ("self.s.matches('(')", "invalid matches argument"),
        ("self.s.matches('a++')", "invalid nested repetition operator"),
        ("self.wait > duration('1x')", "invalid duration argument"),
        ("self.n > 99999999999999999999", "invalid int literal"),
        ("self.s == '\\q'", "token recognition error"),
        ("self.s == '\\ud800'", "invalid unicode code point"),
        ("self.s == '\\U00110000'", "invalid unicode code point"),
        ("self.n >", "mismatched input '<EOF>'"),
        ("self.n ~ 1", "unexpected input"),
        ("if == 1", "reserved identifier: if"),
        ("Foo{a: 1} == 1", "rules construct no objects"),
        ("[?1] == [1]", "expected type 'optional_type(int)'"),
    ],
)
def test_what_does_not_compile(rule: str, why: str) -> None:
    with pytest.raises(CelError) as caught:
        _worth(rule)

    assert why in str(caught.value)
    assert str(caught.value).startswith("ERROR: <input>:1:")


@pytest.mark.parametrize("length", range(2, 18))
def test_each_term_of_a_chain_counts(length: int) -> None:
    for place in range(length):
        terms = [f"self.n {'==' if at == place else '!='} 7" for at in range(length)]
        assert _worth(" || ".join(terms)) is True
        terms = [f"self.n {'!=' if at == place else '=='} 7" for at in range(length)]
        assert _worth(" && ".join(terms)) is False


@pytest.mark.parametrize(
    "rule",
    [
        "(" * 249 + "self.n == 7" + ")" * 249,
        " || ".join(f"self.n == {number}" for number in range(1000)),
        " && ".join(f"self.n != {number + 8}" for number in range(1000)),
        "self.n == 0 || self.n == 7 && self.l[0] == 3 || self.n == 2",
        "(self.n == 2 || self.n == 7) || 1 / 0 == 1",
    ],
)
def test_chains_may_be_long_and_parentheses_many(rule: str) -> None:
    assert _worth(rule) is True


@pytest.mark.parametrize("rule", ["(" * 250 + "true" + ")" * 250, "1+" * 2000 + "1 == 1", "!" * 1501 + "true"])
def test_what_is_nested_too_deeply_does_not_compile(rule: str) -> None:
    with pytest.raises(CelError, match="expression recursion limit exceeded"):
        _worth(rule)


def test_an_error_shows_its_place() -> None:
    with pytest.raises(CelError) as caught:
        _worth("self.n == 1 &&\n  self.nope == 1")

    assert str(caught.value).splitlines() == [
        "ERROR: <input>:2:7: undefined field 'nope'",
        " |   self.nope == 1",
        " | ......^",
    ]


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        ("self.nope", 5),
        ("self.s > self.n", 8),
        ("self.n >= self.s", 8),
        ("(self.n) + self.s == 1", 10),
        ("self.n in ['x']", 8),
        ("self.l['a'] == 1", 7),
        ("self.s.nope()", 12),
        ("nope(1)", 5),
        ("has(self)", 5),
        ("self.?nope.hasValue()", 5),
        ("self.s.matches('(')", 16),
        ("self.l.all(x, nope)", 15),
    ],
)
def test_an_error_stands_where_cel_puts_it(rule: str, column: int) -> None:
    """At the operator, the dot, or the bracket."""
    with pytest.raises(CelError) as caught:
        _worth(rule)

    assert str(caught.value).startswith(f"ERROR: <input>:1:{column}: ")
