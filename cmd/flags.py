"""Flags that can also be given by environment variables, and the values they take."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

LOG_LEVELS = ("debug", "info", "warning", "error")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}
_LONGEST = 36525 * 86400.0  # seconds; nobody can wait longer, nor tell when it is over
# What Kubernetes sets in every Pod for a Service of its namespace, e.g. one named xline-operator-metrics.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")  # what NAME_PORT is then: no port that somebody has set


# Modules that are programs, and what they are called where the wheel is installed (pyproject.toml).
SCRIPTS = {
    "controller": "xline-operator",
    "crds": "xline-operator-crds",
    "sidecar": "xline-agent",
    "silo": "orleans-silo",
}


def program(module: str) -> str:
    """How a program of this package is started, so that examples can be copied."""
    return f"python -m {__package__}.{module}" if __package__ == "cmd" else SCRIPTS[module]


class Repeatable(argparse.Action):
    """Like ``append``, but the first use on the command line replaces what the environment said."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[str] | None,
        option_string: str | None = None,
    ) -> None:
        del parser, option_string
        so_far = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if so_far is self.default else so_far), str(values)])


def defaults_from_environment(
    parser: argparse.ArgumentParser, prefix: str, environ: Mapping[str, str] | None = None
) -> None:
    """Let environment variables, ``prefix`` and the flag's name in upper case, replace the flags' defaults.

    :param environ: instead of this process's.
    :raises SystemExit: with status 2 and a message naming the variable, when one is wrong or names no flag.
    """
    environ = os.environ if environ is None else environ
    for action in parser._actions:
        if not action.option_strings or action.dest == "help":
            continue
        variable = prefix + action.dest.upper()
        text = environ.get(variable)
        if text is None or (variable.endswith("_PORT") and _SERVICE_URL.match(text)):
            continue
        try:
            action.default = _from_text(action, text)
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"environment variable {variable}: {error}")
    known = {prefix + action.dest.upper() for action in parser._actions}
    for variable in environ:
        if variable.startswith(prefix) and variable not in known and not _SERVICE_LINK.search(variable):
            parser.error(f"environment variable {variable} names no flag; --help lists them")


def _from_text(action: argparse.Action, text: str) -> object:
    if isinstance(action, argparse.BooleanOptionalAction) or action.nargs == 0:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() in _TRUE
    if isinstance(action, Repeatable):
        return [part.strip() for part in text.split(",") if part.strip()]
    if action.choices is not None and text not in action.choices:
        raise ValueError(f"{text!r} is not one of {', '.join(map(str, action.choices))}")
    return action.type(text) if callable(action.type) else text


def path(text: str) -> Path:
    if not text:  # Path would take it for the working directory
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return Path(text)


def positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def port(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def seconds(text: str) -> float:
    """Seconds as a number, or with Go's units as other controllers' flags take them: ``15``, ``15s``, ``1m30s``."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    if re.fullmatch(r"\d+(\.\d+)?", text):
        found = float(text)
    elif re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", text):
        found = sum(float(number) * units[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|s|m|h)", text))
    else:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 15, 15s or 1m30s")
    if found > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a hundred years")
    return found
