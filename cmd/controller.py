"""The operator: ``python -m cmd.controller``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .options import Options, parse

if TYPE_CHECKING:
    from runtime.client import Client
    from runtime.manager import Manager


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit status of the process."""
    options = parse(argv)
    if options.demo:
        from .demo import run_demo

        return run_demo(options)
    if options.standalone:
        from .standalone import run_standalone

        return run_standalone(options)
    return run_operator(options)


def run_operator(options: Options) -> int:
    # Imported here: --help and a wrong flag are answered without loading the operator.
    from runtime.client import ConfigError, load_client
    from runtime.logging import configure
    from runtime.manager import BindError, LeaderElectionLost, ShutdownTimeout

    configure(level=options.log_level, format=options.log_format)
    try:
        client = load_client(options.kubeconfig, options.context)
        build_manager(client, options).run()
    except (ConfigError, BindError, LeaderElectionLost, ShutdownTimeout) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def build_manager(client: Client, options: Options) -> Manager:
    """The operator's manager with its controllers, not yet running."""
    from controllers.xline import register
    from runtime.manager import Manager

    manager = Manager(
        client,
        metrics_bind_address=options.metrics_bind_address,
        health_probe_bind_address=options.health_probe_bind_address,
        leader_election=options.leader_elect,
        leader_election_id=options.leader_election_id,
        leader_election_namespace=options.leader_election_namespace or "",
        lease_duration=options.lease_duration,
        renew_deadline=options.renew_deadline,
        retry_period=options.retry_period,
        namespaces=list(options.namespace) or None,
        graceful_shutdown_timeout=options.graceful_shutdown_timeout,
    )
    register(manager, cluster_domain=options.cluster_domain, workers=options.workers)
    return manager


if __name__ == "__main__":
    sys.exit(main())
