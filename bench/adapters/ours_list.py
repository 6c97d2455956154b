"""This library's informer on a server that has no watch-list: it lists in pages, then watches."""

from __future__ import annotations

from typing import ClassVar

from bench.adapters import ours


class Client(ours.Client):
    watch_list: ClassVar[bool] = False
