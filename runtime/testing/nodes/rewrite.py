"""Make a container's strings mean on this machine what they mean in a Pod.

A container process shares this machine's network and file system. So in its arguments, environment, and exec
commands

- DNS names of Pods and Services become their local addresses,
- ``localhost``, ``127.0.0.1`` and ``[::1]`` become the Pod's own address, which is what they mean in a Pod; so do
  ``0.0.0.0``, ``[::]`` and a listen address without host (``:8080``), as all Pods share one interface here and would
  take each other's ports,
- volume mount paths become the folders that hold the volumes.

What a program has built in (a default port on all interfaces, a path in its code) is out of reach: give such values
in its arguments. Names with dots but no ``.svc`` (``web.shop``), and bare Service names (``web:80``), are only
replaced if that Service exists; bare ones, and Pods' names without ordinal (``app.db``), only where a URL or a port
shows that a host is meant. Components of paths, mail addresses, a URL's user information and CIDRs stay as they are.
And a program of this machine that listens on a port of all addresses keeps every Pod and Service from that port.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_HOSTS = re.compile(
    r"(?P<any6>\[::1?\]|(?<![^\s=,'\"])::1?(?![^\s,'\"]))"
    r"|(?<![^\s=,'\"])(?P<port>:\d{1,5})(?![\w:.])"
    r"|(?P<run>[A-Za-z0-9_.\-]+)"
)
_PORT = re.compile(r":\d{1,5}(?!\w|-|\.\w)")
_USER = re.compile(r"(?::[^\s/@]*)?@")  # what makes the run before it a URL's user
_BEHIND_USER = re.compile(r"//[^\s/@]*@$")
_CIDR = re.compile(r"/\d{1,3}(?![\w.])")
_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_ORDINAL = re.compile(r"-\d+$")
_SELF = ("0.0.0.0", "127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Names:
    """What the names in one Pod's strings mean.

    :param own: the address the Pod listens on.
    :param namespace: the Pod's namespace.
    :param pod: address of (namespace, Pod's host name, subdomain), given also before the Pod exists.
    :param service: address of (namespace, Service), given also before it exists.
    :param exists: whether (namespace, Service) exists now.
    """

    own: str
    namespace: str
    pod: Callable[[str, str, str], str]
    service: Callable[[str, str], str]
    exists: Callable[[str, str], bool]
    domain: str = "cluster.local"

    def resolve(self, name: str, *, is_host: bool) -> str | None:
        """The address of a DNS name; ``None``: not ours, leave it.

        :param is_host: it stands where only a host can (``//name``, ``name:80``), so one label is enough.
        """
        name = name.removesuffix(".").removesuffix("." + self.domain)
        labels = name.split(".")
        if len(labels) >= 3 and labels[-1] == "svc":
            return self._qualified(labels[:-1])
        if len(labels) == 3 and self.exists(labels[2], labels[1]):
            return self.pod(labels[2], labels[0], labels[1])
        if len(labels) == 2:
            if self.exists(labels[1], labels[0]):
                return self.service(labels[1], labels[0])
            if (is_host or _ORDINAL.search(labels[0])) and self.exists(self.namespace, labels[1]):
                return self.pod(self.namespace, labels[0], labels[1])
        if len(labels) == 1 and is_host and self.exists(self.namespace, name):
            return self.service(self.namespace, name)
        return None

    def _qualified(self, labels: list[str]) -> str | None:
        if len(labels) == 2:
            return self.service(labels[1], labels[0])
        if len(labels) == 3:
            return self.pod(labels[2], labels[0], labels[1])
        return None


@dataclass(frozen=True, slots=True)
class Mount:
    """A path inside the container, and the file or folder of this machine which holds it."""

    path: str
    source: str


class Rewriter:
    """Applies :class:`Names` and mounts to strings in one pass, so nothing is replaced twice."""

    def __init__(self, names: Names, mounts: Sequence[Mount]) -> None:
        self._names = names
        self._sources = {mount.path.rstrip("/") or "/": mount.source for mount in mounts}
        longest_first = sorted((path for path in self._sources if path != "/"), key=len, reverse=True)
        alternatives = "|".join(re.escape(path) for path in longest_first)
        # A path begins where no other path goes on, and ends at a component's end.
        begin, end = r"(?:(?<![\w./\-~*})])|(?<=://)|(?<=:-))", r"(?![\w.\-])"
        self._paths = re.compile(f"{begin}(?:{alternatives}){end}") if longest_first else None

    def text(self, text: str) -> str:
        if self._paths is None:
            return self._hosts(text)
        done, position = [], 0
        for match in self._paths.finditer(text):
            done += [self._hosts(text, position, match.start()), self._sources[match.group()]]
            position = match.end()
        return "".join([*done, self._hosts(text, position)])

    def words(self, words: Sequence[str]) -> list[str]:
        return [self.text(word) for word in words]

    def host(self, host: str) -> str:
        """A string that is a host, such as ``httpGet.host``; empty: the Pod's own address."""
        if host in ("", *_SELF, "::", "::1", "[::]", "[::1]"):
            return self._names.own
        return self._names.resolve(host, is_host=True) or host

    def _hosts(self, text: str, start: int = 0, end: int | None = None) -> str:
        end = len(text) if end is None else end
        done, position = [], start
        for match in _HOSTS.finditer(text, start, end):
            if match["any6"]:
                new = self._names.own
            elif match["port"]:
                new = match["port"] if _is_json_value(match) else self._names.own + match["port"]
            else:
                new = self._run(match)
            done += [text[position : match.start()], new]
            position = match.end()
        return "".join([*done, text[position:end]])

    def _run(self, match: re.Match[str]) -> str:
        run, text, start, end = match["run"], match.string, match.start(), match.end()
        in_url = text.endswith("//", 0, start)
        if not in_url and text.endswith("/", 0, start):
            return run  # a component of a path
        if in_url and _USER.match(text, end):
            return run
        is_host = in_url or bool(_PORT.match(text, end))
        if text.endswith("@", 0, start) and not is_host:
            if not _BEHIND_USER.search(text[:start]):
                return run  # a mail address
            is_host = True
        if run in _SELF:
            return run if not is_host and _CIDR.match(text, end) else self._names.own
        if not _NAME.fullmatch(run):
            return run
        return self._names.resolve(run, is_host=is_host) or run


def _is_json_value(port: re.Match[str]) -> bool:
    """Whether the quote before this ``:80`` ends a word, as in ``{"key":80}``."""
    quote = port.string[port.start() - 1 : port.start()]
    return quote in ("'", '"') and not port.string.startswith(quote, port.end())


_KILL_WORDS = re.compile(r"(\bkill(?:\s+-\w+(?:\s+[A-Z][A-Z0-9]*(?=\s))?)*(?:\s+--)?\s+)1(?![\w.\-])")


def signal_own_process(words: Sequence[str], pid: int) -> list[str]:
    """In an exec command, let ``kill ... 1`` mean the container's main process, as it does in a container."""
    line = list(words)
    if line and line[0].rpartition("/")[2] == "kill":
        before = ["", *line]  # the word after -s is a signal, not a process
        return [
            str(pid) if word == "1" and before[index] not in ("-s", "-n") else word for index, word in enumerate(line)
        ]
    return [_KILL_WORDS.sub(lambda match: f"{match[1]}{pid}", word) for word in line]
