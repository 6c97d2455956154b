"""Silo addresses of every kind, for property-based tests."""

from __future__ import annotations

from hypothesis import strategies as st

from membership.orleans import SiloAddress

INT32 = st.integers(-(2**31), 2**31 - 1)
SCOPES = st.text("abcz0129_.-:@", min_size=1, max_size=15)
IPV6 = st.ip_addresses(v=6).map(str)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str), IPV6, st.tuples(IPV6.filter(lambda ip: ":ffff:" not in ip), SCOPES).map("%".join)
)
SILOS = st.builds(SiloAddress, ADDRESSES, st.integers(0, 65535), INT32)
