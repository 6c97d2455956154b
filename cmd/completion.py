"""Completion of commands and flags in a shell: ``python -m cmd.controller completion bash|zsh|fish``.

All is taken from the parsers, so nothing is said twice; the scripts hold plain tables and start no process.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from .flags import program

__all__ = ["Node", "Option", "build_parser", "main", "programs"]

_DESCRIPTION = """\
Prints a script that completes the commands and flags of xline-operator, xline-operator-crds, xline-agent,
orleans-silo and fake-apiserver, the programs that this package installs.
"""

_EPILOG = """\
Examples:
  bash   source <(xline-operator completion bash)      in ~/.bashrc
  zsh    source <(xline-operator completion zsh)       in ~/.zshrc, after compinit
  fish   xline-operator completion fish | source       in ~/.config/fish/config.fish
"""

_FILES = ("FILE",)
_FOLDERS = ("DIR", "FOLDER")


@dataclass(frozen=True, slots=True)
class Option:
    """:ivar flags: its spellings.
    :ivar value: what follows it: ``""`` nothing, ``words``, ``file``, ``folder``, or ``text`` that cannot be completed.
    """

    flags: tuple[str, ...]
    help: str
    value: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A program, or a command of one.

    :ivar commands: by name.
    :ivar words: that may stand in the place of an argument without a flag.
    """

    help: str
    options: tuple[Option, ...]
    commands: Mapping[str, Node] = field(default_factory=dict)
    words: tuple[str, ...] = ()


def main(argv: Sequence[str]) -> int:
    """Run ``completion`` with its arguments; the exit status."""
    shell = build_parser().parse_args(argv).shell
    script = import_module(f".completion_{shell}", __package__)
    print("".join(script.render(name, node) for name, node in programs().items()), end="")
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program('controller')} completion",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("for whom")
    group.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that reads the script")
    return parser


def programs() -> dict[str, Node]:
    """By the name of the console script."""
    from runtime.testing.options import parser as apiserver

    from . import check, crds, options, plan, sidecar, silo

    operator = node_of(options.build_parser())
    modules = {"plan": plan, "check": check}
    parsers = {name: module.build_parser() for name, module in modules.items()} | {"completion": build_parser()}
    commands = {name: node_of(parsers[name], text) for name, text in options.COMMANDS.items()}
    return {
        "xline-operator": Node(operator.help, operator.options, commands),
        "xline-operator-crds": node_of(crds.build_parser()),
        "xline-agent": node_of(sidecar.build_parser()),
        "orleans-silo": node_of(silo.build_parser()),
        "fake-apiserver": node_of(apiserver()),
    }


def node_of(parser: argparse.ArgumentParser, text: str = "") -> Node:
    """What a parser takes."""
    options: list[Option] = []
    commands: dict[str, Node] = {}
    words: tuple[str, ...] = ()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {each.dest: each.help or "" for each in action._choices_actions}
            commands |= {name: node_of(each, told.get(name, "")) for name, each in action.choices.items()}
        elif action.option_strings:
            options.append(_option(action))
        elif action.choices is not None:
            words = tuple(map(str, action.choices))
    return Node(text or (parser.description or "").strip().partition("\n")[0], tuple(options), commands, words)


def _option(action: argparse.Action) -> Option:
    text = " ".join((action.help or "").replace("%(default)s", str(action.default)).split())
    text = text.replace("%(default)g", f"{action.default:g}" if isinstance(action.default, float) else "")
    text = text.replace("%%", "%")
    if action.nargs == 0:
        return Option(tuple(action.option_strings), text, "")
    if action.choices is not None:
        return Option(tuple(action.option_strings), text, "words", tuple(map(str, action.choices)))
    metavar = str(action.metavar or "")
    if metavar in _FOLDERS:
        return Option(tuple(action.option_strings), text, "folder")
    is_path = metavar in _FILES or action.type is Path
    return Option(tuple(action.option_strings), text, "file" if is_path else "text")
