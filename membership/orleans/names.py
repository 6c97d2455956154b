"""How the objects of the table are called.

A silo with an IPv4 address is called as the .NET provider calls it, ``ADDRESS-PORT-GENERATION``, and a version row
like its cluster. What would be no name for Kubernetes (a DNS-1123 subdomain of at most 253 characters) gets another:

``2001-0db8-0000-0000-0000-0000-0000-0001-11111-7``
    a silo with an IPv6 address: its eight groups in full, then port and generation;
``x-`` and lower-case base32hex (RFC 4648, no padding) of the UTF-8 text
    anything else: a silo whose IPv6 address has a scope (the text is ``IP:PORT@GENERATION``), a cluster whose id is no
    name;
``h-`` and the SHA-256 of that text in hex
    what would be too long even so. Only this form cannot be turned back; the fields of the object say the rest.

A cluster id that is a name already is kept even if it begins with ``x-`` or ``h-``, unless it is what the rules
above make of another id. The .NET provider finds version rows only under ids that are names, and cannot write the
others at all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re

from membership.orleans.address import SiloAddress

MAX_LENGTH = 253

_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_HASHED = re.compile(r"h-[0-9a-f]{64}", re.ASCII)
_IPV4 = re.compile(r"([0-9.]+)-([0-9]{1,5})-(-?[0-9]{1,10})", re.ASCII)
_IPV6 = re.compile(r"((?:[0-9a-f]{4}-){8})([0-9]{1,5})-(-?[0-9]{1,10})", re.ASCII)


def row_name(address: SiloAddress) -> str:
    """The name of the object that holds this silo's row."""
    ip = address.ip
    tail = f"{address.port}-{address.generation}"
    if isinstance(ip, ipaddress.IPv4Address):
        return f"{address.address}-{tail}"
    if ip.scope_id is None:
        return f"{ip.exploded.replace(':', '-')}-{tail}"
    return _escaped(str(address))


def row_address(name: str) -> SiloAddress | None:
    """Whose row an object of that name holds; None if no silo's row is called so (or the name is a hash)."""
    try:
        if found := _IPV4.fullmatch(name):
            address = SiloAddress(found[1], int(found[2]), int(found[3]))
        elif found := _IPV6.fullmatch(name):
            address = SiloAddress(found[1][:-1].replace("-", ":"), int(found[2]), int(found[3]))
        elif (text := _unescaped(name)) is not None:
            address = SiloAddress.parse(text)
        else:
            return None
    except ValueError:
        return None
    return address if row_name(address) == name else None


def version_name(cluster_id: str) -> str:
    """The name of the object that holds the table version of this cluster.

    :raises ValueError: the id is empty or no text that can be written (a lone surrogate).
    """
    if not cluster_id:
        raise ValueError("the cluster id is empty")
    if is_name(cluster_id) and not _taken(cluster_id):
        return cluster_id
    return _escaped(cluster_id)


def version_cluster_id(name: str) -> str | None:
    """Of which cluster an object of that name holds the table version; None if of none, or if the name is a hash."""
    text = _unescaped(name)
    if text and version_name(text) == name:
        return text
    return name if is_name(name) and not _taken(name) else None


def is_name(text: str) -> bool:
    """Whether Kubernetes takes it as an object's name: a DNS-1123 subdomain of at most 253 characters."""
    return len(text) <= MAX_LENGTH and _SUBDOMAIN.fullmatch(text) is not None


def _taken(name: str) -> bool:
    """It is what :func:`version_name` makes of another id."""
    if _HASHED.fullmatch(name):
        return True
    text = _unescaped(name)
    return version_name(text) == name if text else False


def _escaped(text: str) -> str:
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} cannot be written as UTF-8") from None
    name = "x-" + base64.b32hexencode(octets).decode().rstrip("=").lower()
    return name if len(name) <= MAX_LENGTH else "h-" + hashlib.sha256(octets).hexdigest()


def _unescaped(name: str) -> str | None:
    digits = name.removeprefix("x-")
    if digits == name or digits != digits.lower():
        return None
    try:
        return base64.b32hexdecode(digits.upper() + "=" * (-len(digits) % 8)).decode()
    except (binascii.Error, ValueError):
        return None
