"""``python -m cmd.sidecar status``: what an agent knows, for people."""

from __future__ import annotations

import argparse
import http.client
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_TIMEOUT = 5.0  # seconds


def add_parsers(commands: Commands) -> None:
    parser = commands.add_parser(
        "status", help="print what an agent knows", description="Prints the /status of an agent.", allow_abbrev=False
    )
    group = parser.add_argument_group("which agent")
    group.add_argument(
        "--address", metavar="HOST:PORT", default="127.0.0.1:2382", help="of the agent (default: %(default)s)"
    )
    parser.set_defaults(run=print_status)


def print_status(values: argparse.Namespace) -> int:
    """0: printed; 1: the agent does not answer."""
    address: str = values.address
    try:
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=_TIMEOUT)
        connection.request("GET", "/status")
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}: {body.decode(errors='replace').strip()}")
        print(json.dumps(json.loads(body), indent=2))
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"error: the agent at {address} does not tell: {error}", file=sys.stderr)
        return 1
    return 0
