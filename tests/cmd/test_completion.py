"""Completion by real shells; and what the parsers behind it say to people: every command and flag, in its group."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cmd import check, completion, crds, options, plan, sidecar, silo
from cmd.completion import Node, programs
from cmd.completion_bash import render as bash_script
from cmd.completion_fish import render as fish_script
from cmd.completion_zsh import render as zsh_script
from runtime.testing.options import parser as apiserver

ROOT = Path(__file__).resolve().parents[2]
PARSERS = {
    "controller": options.build_parser,
    "plan": plan.build_parser,
    "check": check.build_parser,
    "completion": completion.build_parser,
    "crds": crds.build_parser,
    "sidecar": sidecar.build_parser,
    "silo": silo.build_parser,
    "fake-apiserver": apiserver,
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``bash``, ``zsh`` and ``fish``, and files to complete."""
    folder = tmp_path_factory.mktemp("completion")
    found = programs()
    for shell, render in (("bash", bash_script), ("zsh", zsh_script), ("fish", fish_script)):
        (folder / shell).write_text("".join(render(name, node) for name, node in found.items()))
    (folder / "here").mkdir()
    (folder / "here" / "kubeconfig").touch()
    (folder / "here" / "folder").mkdir()
    return folder


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def in_bash(scripts: Path, line: str) -> list[str]:
    """What Tab offers after ``line``, as bash cuts it into words ("=" is one of its own)."""
    words = [part for word in line.split(" ") for part in ([word] if "=" not in word else _cut(word))]
    quoted = " ".join(f"'{word}'" for word in words)
    code = f"""source ../bash
compopt() {{ :; }}  # means something only while bash itself completes
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
function=$(complete -p {words[0]} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function {words[0]}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    out = run("bash", "--norc", "--noprofile", "-c", code, cwd=scripts / "here")
    return sorted(filter(None, out.split("\n")))


def _cut(word: str) -> list[str]:
    flag, _, value = word.partition("=")
    return [flag, "=", value] if value else [flag, "="]


def in_fish(scripts: Path, line: str) -> list[str]:
    out = run("fish", "--no-config", "-c", f"source ../fish; complete -C '{line}'", cwd=scripts / "here")
    return sorted({each.partition("\t")[0] for each in out.split("\n") if each})


LINES = [
    ("xline-operator ", ["check", "completion", "plan"]),
    ("xline-operator p", ["plan"]),
    ("xline-operator --log-f", ["--log-format"]),
    ("xline-operator --log-format ", ["console", "json"]),
    ("xline-operator --log-level d", ["debug"]),
    ("xline-operator --log-level debug --leader-elect --lease-d", ["--lease-duration"]),
    ("xline-operator --namespace ", []),
    ("xline-operator --namespace plan --lease-d", ["--lease-duration"]),  # a value that is called as a command
    ("xline-operator --kubeconfig kube", ["kubeconfig"]),
    ("xline-operator check --lead", ["--leader-election-namespace"]),
    ("xline-operator check --leader-elect", ["--leader-election-namespace"]),
    ("xline-operator completion ", ["bash", "fish", "zsh"]),
    ("xline-operator-crds ", ["apply", "check", "convert", "print"]),
    ("xline-operator-crds apply --cont", ["--context"]),
    ("xline-agent restore ", ["fetch", "install"]),
    ("xline-agent restore fetch --engine ", ["etcd", "xline"]),
    ("fake-apiserver --authorization-", ["--authorization-mode"]),
]


@pytest.mark.parametrize(("line", "offered"), LINES)
def test_bash_completes(scripts: Path, line: str, offered: list[str]) -> None:
    assert in_bash(scripts, line) == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("xline-operator --log-format=", ["console", "json"]),
        ("xline-operator --log-format=c", ["console"]),
        ("xline-operator --log-format=json --log-le", ["--log-level"]),
        ("xline-operator --metrics-cert-dir fo", ["folder"]),
        ("xline-operator --metrics-cert-dir kube", []),
        ("xline-agent run -- --log", []),  # what follows is the server's
    ],
)
def test_bash_knows_its_own_ways(scripts: Path, line: str, offered: list[str]) -> None:
    assert in_bash(scripts, line) == offered


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish on this machine")
@pytest.mark.parametrize(("line", "offered"), LINES)
def test_fish_completes(scripts: Path, line: str, offered: list[str]) -> None:
    assert in_fish(scripts, line) == offered


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on this machine")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("xline-operator p", "plan"),
        ("xline-operator --log-format=c", "--log-format=console"),
        ("xline-operator check --leader", "check --leader-election-namespace"),
        ("xline-agent restore f", "restore fetch"),
    ],
)
def test_zsh_completes(scripts: Path, line: str, told: str) -> None:
    """A line editor of its own, in which Tab is pressed."""
    program = line.split()[0]
    code = f"""zmodload zsh/zpty
zpty -b shell zsh -f -i
zpty -w shell "PS1=; PS2=; unsetopt zle_bracketed_paste beep; bindkey -e; autoload -Uz compinit && compinit -D -u"
zpty -w shell "source ../zsh; {program}() {{ print -r -- said: \\$* :said }}"
zpty -n -w shell $'{line}\\t\\n'
while zpty -r shell got '*said: [^$]* :said*'; do print -r -- "$got"; [[ $got == *'said: '[a-z-]* ]] && break; done
zpty -d shell
"""
    out = subprocess.run(
        ["zsh", "-f", "-c", code], cwd=scripts / "here", capture_output=True, text=True, timeout=60, check=False
    ).stdout
    assert f"said: {told} :said" in out


def test_the_command_prints_the_script(scripts: Path) -> None:
    for shell in ("bash", "fish", "zsh"):
        out = run(sys.executable, "-m", "cmd.controller", "completion", shell, cwd=ROOT)
        assert out == (scripts / shell).read_text()


def test_every_installed_program_is_completed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert programs().keys() == project["scripts"].keys()


# -- help


def leaves(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not nested:
        yield name, parser
    for action in nested:
        for command, below in action.choices.items():
            yield from leaves(f"{name} {command}", below)


ALL = [found for name, build in PARSERS.items() for found in leaves(name, build())]


@pytest.mark.parametrize(("name", "parser"), ALL, ids=[name for name, _ in ALL])
def test_help_tells_of_every_flag_in_its_group(name: str, parser: argparse.ArgumentParser) -> None:
    parser.format_help()
    untold = [action.dest for action in parser._actions if not action.help]
    assert untold == []
    general = (parser._optionals, parser._positionals)
    ungrouped = [a.dest for group in general for a in group._group_actions if a.dest != "help"]
    assert ungrouped == []


def test_every_command_tells_what_it_does() -> None:
    def untold(path: str, node: Node) -> Iterator[str]:
        if not node.help:
            yield path
        for name, each in node.commands.items():
            yield from untold(f"{path} {name}", each)

    assert [path for name, node in programs().items() for path in untold(name, node)] == []
    assert options.COMMANDS.keys() == programs()["xline-operator"].commands.keys()
