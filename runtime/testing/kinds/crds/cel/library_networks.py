"""Addresses, networks and URLs: Kubernetes' own libraries."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

from runtime.testing.kinds.crds.cel.functions import declare
from runtime.testing.kinds.crds.cel.library_standard import NO_OVERLOAD
from runtime.testing.kinds.crds.cel.syntax import CelError
from runtime.testing.kinds.crds.cel.values import Value

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOCAL: Final = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


@dataclass(frozen=True)
class IP:
    address: _Address
    type_name = "net.IP"

    @property
    def text(self) -> str:
        return str(self.address)

    @property
    def cost_size(self) -> int:
        return self.address.max_prefixlen // 8


@dataclass(frozen=True)
class CIDR:
    """:param address: with the bits behind the prefix."""

    address: _Address
    bits: int
    type_name = "net.CIDR"

    @property
    def text(self) -> str:
        return f"{self.address}/{self.bits}"

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network(self.text, strict=False)

    @property
    def cost_size(self) -> int:
        return -(-self.bits // 8)


@dataclass(frozen=True)
class URL:
    parts: SplitResult
    type_name = "kubernetes.URL"


def parse_ip(text: Value) -> IP:
    """:raises CelError: if it is no address, or one that Kubernetes refuses."""
    if not isinstance(text, str):
        raise CelError(NO_OVERLOAD)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise CelError(f'IP Address "{text}" parse error during conversion from string: unable to parse IP') from None
    if "%" in text:
        raise CelError(f'IP address "{text}" with zone value is not allowed')
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return IP(address)


def parse_cidr(text: Value) -> CIDR:
    """:raises CelError: if it is no network, or one that Kubernetes refuses."""
    if not isinstance(text, str):
        raise CelError(NO_OVERLOAD)
    address, slash, bits = text.partition("/")
    good = slash and bits.isdecimal() and bits.isascii() and (bits == "0" or bits[0] != "0")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        good = False
    if not good or "%" in address or int(bits) > found.max_prefixlen:
        raise CelError(f'network address parse error during conversion from string: netip.ParsePrefix("{text}")')
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return CIDR(found, int(bits))


def _is(parse: Value, text: Value) -> bool:
    if not isinstance(text, str):
        raise CelError(NO_OVERLOAD)
    try:
        parse(text)
    except CelError:
        return False
    return True


@declare("ip", "(string) -> ip")
@declare("ip", "(cidr) -> ip", member=True)
def _ip(value: Value) -> Value:
    return IP(value.address) if isinstance(value, CIDR) else parse_ip(value)


@declare("isIP", "(string) -> bool")
def _is_ip(text: Value) -> Value:
    return _is(parse_ip, text)


@declare("ip.isCanonical", "(string) -> bool")
def _is_canonical(text: Value) -> Value:
    return parse_ip(text).text == text


@declare("family", "(ip) -> int", member=True)
def _family(value: IP) -> Value:
    return value.address.version


@declare("isUnspecified", "(ip) -> bool", member=True)
def _is_unspecified(value: IP) -> Value:
    return value.address.is_unspecified


@declare("isLoopback", "(ip) -> bool", member=True)
def _is_loopback(value: IP) -> Value:
    return value.address.is_loopback


@declare("isLinkLocalMulticast", "(ip) -> bool", member=True)
def _is_local_multicast(value: IP) -> Value:
    return any(value.address in network for network in _LOCAL)


@declare("isLinkLocalUnicast", "(ip) -> bool", member=True)
def _is_local_unicast(value: IP) -> Value:
    return value.address.is_link_local


@declare("isGlobalUnicast", "(ip) -> bool", member=True)
def _is_global_unicast(value: IP) -> Value:
    address = value.address
    apart = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not apart and str(address) != "255.255.255.255"


@declare("cidr", "(string) -> cidr")
def _cidr(text: Value) -> Value:
    return parse_cidr(text)


@declare("isCIDR", "(string) -> bool")
def _is_cidr(text: Value) -> Value:
    return _is(parse_cidr, text)


@declare("containsIP", "(cidr, string) -> bool", "(cidr, ip) -> bool", member=True)
def _contains_ip(network: CIDR, address: Value) -> Value:
    found = parse_ip(address) if isinstance(address, str) else address
    return found.address in network.network


@declare("containsCIDR", "(cidr, string) -> bool", "(cidr, cidr) -> bool", member=True)
def _contains_cidr(network: CIDR, other: Value) -> Value:
    found = parse_cidr(other) if isinstance(other, str) else other
    if found.address.version != network.address.version:
        return False
    return found.network.network_address in network.network and network.bits <= found.bits


@declare("prefixLength", "(cidr) -> int", member=True)
def _prefix_length(network: CIDR) -> Value:
    return network.bits


@declare("masked", "(cidr) -> cidr", member=True)
def _masked(network: CIDR) -> Value:
    return CIDR(network.network.network_address, network.bits)


def parse_url(text: Value) -> URL:
    """:raises CelError: if it is neither absolute nor a path."""
    if not isinstance(text, str):
        raise CelError(NO_OVERLOAD)
    failed = f'URL parse error during conversion from string: parse "{text}":'
    if any(ord(char) < 0x20 or char == "\x7f" for char in text):
        raise CelError(f"{failed} net/url: invalid control character in URL")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise CelError(f"{failed} {error}") from None
    host = parts.netloc.rpartition("@")[2]
    if not (parts.scheme or text.startswith("/")) or " " in host or (host.count(":") > 1 and "[" not in host):
        raise CelError(f"{failed} invalid URI for request")
    return URL(parts)


@declare("url", "(string) -> url")
def _url(text: Value) -> Value:
    return parse_url(text)


@declare("isURL", "(string) -> bool")
def _is_url(text: Value) -> Value:
    return _is(parse_url, text)


@declare("getScheme", "(url) -> string", member=True)
def _scheme(url: URL) -> Value:
    return url.parts.scheme


@declare("getHost", "(url) -> string", member=True)
def _host(url: URL) -> Value:
    return url.parts.netloc.rpartition("@")[2]


@declare("getHostname", "(url) -> string", member=True)
def _hostname(url: URL) -> Value:
    host = str(_host(url))
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


@declare("getPort", "(url) -> string", member=True)
def _port(url: URL) -> Value:
    host = str(_host(url)).rpartition("]")[2]
    return host.rpartition(":")[2] if ":" in host else ""


@declare("getEscapedPath", "(url) -> string", member=True)
def _escaped_path(url: URL) -> Value:
    return quote(url.parts.path, safe="/%:@!$&'()*+,;=~-._[]")


@declare("getQuery", "(url) -> map(string, list(string))", member=True)
def _query(url: URL) -> Value:
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(url.parts.query, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return found
