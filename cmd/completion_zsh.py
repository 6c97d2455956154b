"""The script for zsh: a function for each program and command, by ``_arguments``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .completion import Node, Option

_COMMANDS = """\
    local curcontext="$curcontext" state line
    typeset -A opt_args
    _arguments -C -S {options} \\
        '1: :->command' '*:: :->rest'
    case $state in
    command) local -a commands=({described}); _describe command commands ;;
    rest)
        case $line[1] in
{cases}
        esac
        ;;
    esac
"""


def render(name: str, node: Node) -> str:
    """The script for one program."""
    function = f"_{name.replace('-', '_')}"
    return "".join(_functions(function, node)) + f"compdef {function} {name}\n"


def _functions(function: str, node: Node) -> Iterator[str]:
    options = " ".join(_option(each) for each in node.options)
    if node.commands:
        names = {name: f"{function}_{name.replace('-', '_')}" for name in node.commands}
        described = " ".join(_quoted(f"{name}:{node.commands[name].help}") for name in names)
        cases = "\n".join(f"        {name}) {called} ;;" for name, called in names.items())
        yield f"{function}() {{\n" + _COMMANDS.format(options=options, described=described, cases=cases) + "}\n"
        for name, called in names.items():
            yield from _functions(called, node.commands[name])
    else:
        words = f" '1: :({' '.join(node.words)})'" if node.words else ""
        yield f"{function}() {{\n    _arguments -S {options}{words}\n}}\n"


def _option(option: Option) -> str:
    text = re.sub(r"([\\\[\]:])", r"\\\1", option.help)
    value = {
        "": "",
        "words": f":value:({' '.join(option.words)})",
        "file": ":file:_files",
        "folder": ":folder:_files -/",
        "text": ":value: ",
    }[option.value]
    specs = []
    for flag in option.flags:
        joined = "=" if option.value and flag.startswith("--") else ""
        specs.append(_quoted(f"*{flag}{joined}[{text}]{value}"))
    return " ".join(specs)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
