"""The operator: ``python -m cmd.controller``."""

from __future__ import annotations

import gc
import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from .options import COMMANDS, Options, parse
from .orleans_flags import orleans_settings
from .plan import AGENT

if TYPE_CHECKING:
    from runtime.client import Client
    from runtime.manager import Manager

USER_AGENT = "xline-operator"  # in the API server's audit log


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT, or one of :data:`COMMANDS`; the exit status of the process."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in COMMANDS:
        command = importlib.import_module(f".{arguments[0]}", __package__)
        return int(command.main(arguments[1:]))
    options = parse(arguments)
    if options.demo:
        from .demo import run_demo

        return run_demo(options)
    if options.standalone:
        from .standalone import run_standalone

        return run_standalone(options)
    return run_operator(options)


def run_operator(options: Options) -> int:
    _end_at_once_on_signals()
    # Imported here: --help and a wrong flag are answered without loading the operator.
    with nothing_collected():
        import controllers.xline  # noqa: F401 - with all else that is loaded
        from runtime.client import ConfigError, load_client
        from runtime.logging import configure
        from runtime.manager import ManagerError

    configure(options.log_level, options.log_format, levels=options.logger_level)
    try:
        client = load_client(options.kubeconfig, options.context, user_agent=USER_AGENT)
        build_manager(client, options).run()
    except (ConfigError, ManagerError) as error:
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
        metrics_secure=options.metrics_secure,
        metrics_cert_dir=options.metrics_cert_dir,
        metrics_authorization=options.metrics_authorization,
        status_page=options.status_page,
        health_probe_bind_address=options.health_probe_bind_address,
        max_cache_age=options.max_cache_age,
        leader_election=options.leader_elect,
        leader_election_id=options.leader_election_id,
        leader_election_namespace=options.leader_election_namespace or "",
        lease_duration=options.lease_duration,
        renew_deadline=options.renew_deadline,
        retry_period=options.retry_period,
        namespaces=list(options.namespace) or None,
        graceful_shutdown_timeout=options.graceful_shutdown_timeout,
    )
    register(
        manager,
        cluster_domain=options.cluster_domain,
        workers=options.workers,
        agent_image=options.agent_image or None,
        agent_module=AGENT,
    )
    if options.orleans:
        from controllers.orleans import register as register_orleans

        # XlineClusters need Pods anyway.
        settings = orleans_settings(options)
        register_orleans(manager, settings=settings, workers=options.workers, pods_required=True)
    return manager


@contextmanager
def nothing_collected() -> Iterator[None]:
    """What is loaded stays: to look for garbage in it, again and again, would be a thirtieth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _end_at_once_on_signals() -> None:
    """For the time until the manager runs and handles them: process 1 of a container ignores a signal without a
    handler, and Ctrl-C would print where Python was."""
    if threading.current_thread() is not threading.main_thread():
        return

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


if __name__ == "__main__":
    sys.exit(main())
