"""xxHash32, the hash from which Orleans makes places on its ring.

Written from the algorithm's specification (xxHash, doc/xxhash_spec.md): the inputs are two dozen bytes, which is no
reason for a compiled dependency.
"""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_PRIME_1 = 0x9E3779B1
_PRIME_2 = 0x85EBCA77
_PRIME_3 = 0xC2B2AE3D
_PRIME_4 = 0x27D4EB2F
_PRIME_5 = 0x165667B1


def xxhash32(data: bytes, seed: int = 0) -> int:
    """The unsigned 32-bit xxHash32 of ``data``."""
    stripes = len(data) // 16
    if stripes:
        lanes = [seed + _PRIME_1 + _PRIME_2, seed + _PRIME_2, seed, seed - _PRIME_1]
        for words in struct.iter_unpack("<4I", data[: stripes * 16]):
            lanes = [_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
        number = sum(_rotated(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True))
    else:
        number = seed + _PRIME_5
    number += len(data)
    tail = data[stripes * 16 :]
    for (word,) in struct.iter_unpack("<I", tail[: len(tail) // 4 * 4]):
        number = _rotated(number + word * _PRIME_3, 17) * _PRIME_4
    for byte in tail[len(tail) // 4 * 4 :]:
        number = _rotated(number + byte * _PRIME_5, 11) * _PRIME_1
    return _avalanche(number & _MASK)


def _round(lane: int, word: int) -> int:
    return _rotated(lane + word * _PRIME_2, 13) * _PRIME_1 & _MASK


def _rotated(number: int, by: int) -> int:
    number &= _MASK
    return (number << by | number >> 32 - by) & _MASK


def _avalanche(number: int) -> int:
    number = (number ^ number >> 15) * _PRIME_2 & _MASK
    number = (number ^ number >> 13) * _PRIME_3 & _MASK
    return number ^ number >> 16
