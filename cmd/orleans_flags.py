"""The operator's flags for Orleans clusters."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .flags import positive, seconds

if TYPE_CHECKING:
    from controllers.orleans import Settings

    from .options import Options


def add_orleans_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Orleans clusters")
    for flag, default, text in (
        ("--orleans", True, "look after the membership tables of Orleans clusters, where their CRDs are installed"),
        ("--orleans-dry-run", False, "change no table, only tell in log and events what would be done"),
        ("--orleans-evict-gone", True, "declare silos dead whose Pod is gone"),
        ("--orleans-evict-silent", True, "declare silos dead that give no sign of life, where the votes allow it"),
    ):
        shown = f"{text} (default: {'on' if default else 'off'})"
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=shown)
    group.add_argument(
        "--orleans-votes",
        metavar="N",
        type=positive,
        default=2,
        help="votes that declare a silo dead, as the silos' NumVotesForDeathDeclaration has it (default: %(default)s)",
    )
    group.add_argument(
        "--orleans-silent-after",
        metavar="SECONDS",
        type=seconds,
        default=600.0,
        help="silence after which the operator's vote is cast though no silo suspects the silent one; it counts where "
        "one vote is enough, in clusters of two or three (default: %(default)g)",
    )
    group.add_argument(
        "--orleans-defunct-after",
        metavar="SECONDS",
        type=seconds,
        default=7 * 86400.0,
        help="age at which rows of dead silos are removed; 0: never (default: 168h)",
    )
    group.add_argument(
        "--orleans-max-defunct",
        metavar="N",
        type=positive,
        default=25,
        help="rows of dead silos that are kept besides those seen dead for less than an hour (default: %(default)s)",
    )


def orleans_settings(options: Options) -> Settings:
    """What the flags say.

    :raises ValueError: they do not fit together.
    """
    from controllers.orleans import Settings
    from membership.orleans.options import MembershipOptions

    return Settings(
        protocol=MembershipOptions(num_votes=options.orleans_votes, num_probed_silos=max(10, options.orleans_votes)),
        dry_run=options.orleans_dry_run,
        evict_gone=options.orleans_evict_gone,
        evict_silent=options.orleans_evict_silent,
        silent_alone=options.orleans_silent_after,
        defunct_after=options.orleans_defunct_after or None,
        max_defunct=options.orleans_max_defunct,
    )
