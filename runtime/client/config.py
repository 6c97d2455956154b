"""Making a client of a kubeconfig or of the Pod's service account."""

from __future__ import annotations

from runtime.client.client import DEFAULT_CONNECT_TIMEOUT, DEFAULT_TIMEOUT, DEFAULT_USER_AGENT, Client
from runtime.clock import Clock


def load_client(
    kubeconfig: str | None = None,
    context: str | None = None,
    *,
    user_agent: str = DEFAULT_USER_AGENT,
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
    timeout: float = DEFAULT_TIMEOUT,
    clock: Clock | None = None,
) -> Client:
    """A client for the cluster that the environment names.

    Looked for in this order: ``kubeconfig``; the files of ``$KUBECONFIG``, merged; the service account, inside a Pod;
    ``~/.kube/config``.

    :param kubeconfig: path of a kubeconfig; several as in ``$KUBECONFIG``, separated by ``:``.
    :param context: context of the kubeconfig; None: its current one.
    :raises ConfigError: says which file, context or field is wrong, and what to do.
    """
    from runtime.client._loading import load_transport  # imports a YAML reader

    transport, namespace = load_transport(kubeconfig, context, clock)
    return Client(
        transport=transport,
        namespace=namespace,
        user_agent=user_agent,
        connect_timeout=connect_timeout,
        timeout=timeout,
        clock=clock,
    )
