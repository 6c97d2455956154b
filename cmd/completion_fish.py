"""The script for fish."""

from __future__ import annotations

from collections.abc import Iterator

from .completion import Node, Option

# The commands that stand on the line, in their order; values of flags are no commands.
_SCRIPT = """\
function {function}_at
    set -l words (commandline -opc)
    set -l at ''
    set -l skip 0
    for word in $words[2..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $word
            if contains -- "$at $word" {takers}
                set skip 1
            end
        else if contains -- "$at/$word" {paths}
            set at "$at/$word"
        end
    end
    test "$at" = "$argv[1]"
end
complete -c {name} -f
"""


def render(name: str, node: Node) -> str:
    """The script for one program."""
    function = f"__{name.replace('-', '_')}"
    paths = " ".join(_quoted(path) for path, _ in _walk("", node) if path) or "''"
    takers = [f"{path} {flag}" for path, each in _walk("", node) for o in each.options if o.value for flag in o.flags]
    lines = [_SCRIPT.format(function=function, name=name, paths=paths, takers=" ".join(map(_quoted, takers)) or "''")]
    for path, each in _walk("", node):
        condition = _quoted(f"{function}_at {_quoted(path)}")
        lines += [
            f"complete -c {name} -n {condition} -a {_quoted(command)} -d {_quoted(below.help)}\n"
            for command, below in each.commands.items()
        ]
        lines += [f"complete -c {name} -n {condition} -a {_quoted(word)}\n" for word in each.words]
        lines += [f"complete -c {name} -n {condition} {_flag(option)}\n" for option in each.options]
    return "".join(lines)


def _walk(path: str, node: Node) -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, each in node.commands.items():
        yield from _walk(f"{path}/{name}", each)


def _flag(option: Option) -> str:
    parts = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    if option.value == "words":
        parts.append(f"-x -a {_quoted(' '.join(option.words))}")
    elif option.value == "folder":
        parts.append("-x -a '(__fish_complete_directories)'")
    elif option.value == "file":
        parts.append("-r -F")
    elif option.value:
        parts.append("-x")
    return " ".join([*parts, f"-d {_quoted(option.help)}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
