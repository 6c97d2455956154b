"""pods/log: what ``kubectl logs`` shows, from whoever runs the containers."""

from __future__ import annotations

from runtime.testing.apiserver import errors
from runtime.testing.apiserver.context import Context
from runtime.testing.apiserver.http import Request, Response, Stream
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.options import boolean, integer
from runtime.testing.apiserver.routing import Target

_TEXT = "text/plain"


def read_log(context: Context, target: Target, request: Request) -> Response:
    """Streams the log. Raises 400 for an unknown or ambiguous container, 404 for an unknown pod."""
    pod = context.store.get(target.kind.storage_key, target.namespace, target.name)
    if pod is None:
        raise errors.not_found(target.kind, target.name)
    container = _container(pod, request.query.get("container", ""))
    provider = context.log_provider
    if provider is None:
        return Response(200, b"", _TEXT)
    tail, since = integer(request.query, "tailLines"), integer(request.query, "sinceSeconds")
    try:
        parts = provider(
            target.namespace,
            target.name,
            container,
            follow=boolean(request.query, "follow"),
            tail_lines=tail,
            previous=boolean(request.query, "previous"),
            since_seconds=None if since is None else float(since),
            timestamps=boolean(request.query, "timestamps"),
            stop=context.stopping,
        )
    except LookupError as error:
        raise errors.bad_request(str(error.args[0] if error.args else error)) from None

    def send(stream: Stream) -> None:
        try:
            for part in parts:
                if part:
                    stream.send(part)
                elif stream.peer_gone():
                    return
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()

    return Response(200, content_type=_TEXT, stream=send)


def _container(pod: Stored, wanted: str) -> str:
    spec = pod.obj.get("spec") or {}
    regular = [each["name"] for each in spec.get("containers") or ()]
    initial = [each["name"] for each in spec.get("initContainers") or ()]
    if wanted:
        if wanted not in (*regular, *initial):
            raise errors.bad_request(f"container {wanted} is not valid for pod {pod.name}")
        return wanted
    annotations = pod.obj["metadata"].get("annotations") or {}
    default = annotations.get("kubectl.kubernetes.io/default-container")
    if default in regular:
        return str(default)
    if len(regular) == 1 and not initial:
        return str(regular[0])
    if len(regular) == 1:
        return str(regular[0])
    raise errors.bad_request(
        f"a container name must be specified for pod {pod.name}, choose one of: [{' '.join(regular)}]"
    )
