"""The script for bash. It needs no other file, the package bash-completion included."""

from __future__ import annotations

from collections.abc import Iterator

from .completion import Node

# Walks over the words before the one that is completed, to find out of which command it is a part and whether a flag
# waits for its value. Bash splits words at "=", so that --flag=value comes in three.
_SCRIPT = """\
{function}_table() {{
    case "$1" in
{tables}
    *) return 1 ;;
    esac
}}
{function}_value() {{
    case "$1 $2" in
{values}
    *) echo none ;;
    esac
}}
{function}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} at='' commands='' flags='' kind='' word i next
    COMPREPLY=()
    {function}_table ''
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${{COMP_WORDS[i]}}
        if [[ $word == -- ]]; then return; fi
        if [[ $word == = ]]; then continue; fi
        if [[ $word == -* ]]; then
            kind=$({function}_value "$at" "$word")
            if [[ $kind != none ]]; then
                next=$((i + 1))
                if [[ $next -lt $COMP_CWORD && ${{COMP_WORDS[next]}} == = ]]; then ((next++)); fi
                if ((next >= COMP_CWORD)); then break; fi
                i=$next
            fi
            kind=''
        elif [[ " $commands " == *" $word "* ]] && {function}_table "$at/$word"; then
            at="$at/$word"
        fi
    done
    if [[ $cur == = && -n $kind ]]; then cur=''; fi
    case "$kind" in
    words*) COMPREPLY=($(compgen -W "${{kind#words}}" -- "$cur")) ;;
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;
    folder) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")) ;;
    text) ;;
    *)
        if [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W "$flags" -- "$cur"))
        else
            COMPREPLY=($(compgen -W "$commands" -- "$cur"))
        fi
        ;;
    esac
}}
complete -F {function} {name}
"""


def render(name: str, node: Node) -> str:
    """The script for one program."""
    function = f"_{name.replace('-', '_')}"
    tables = "\n".join(_tables("", node))
    values = "\n".join(_values("", node))
    return _SCRIPT.format(function=function, name=name, tables=tables, values=values)


def _tables(at: str, node: Node) -> Iterator[str]:
    commands = " ".join([*node.commands, *node.words])
    flags = " ".join(flag for option in node.options for flag in option.flags)
    yield f"    '{at}') commands='{commands}' flags='{flags}' ;;"
    for name, each in node.commands.items():
        yield from _tables(f"{at}/{name}", each)


def _values(at: str, node: Node) -> Iterator[str]:
    for option in node.options:
        if option.value:
            patterns = "|".join(f"'{at} {flag}'" for flag in option.flags)
            yield f"    {patterns}) echo '{' '.join([option.value, *option.words])}' ;;"
    for name, each in node.commands.items():
        yield from _values(f"{at}/{name}", each)
