"""A client that stops at each of its calls and asks what to do: go on, let somebody else act, die, lose the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from runtime.client import Client, ClientError, ResourceClient
from runtime.clock import Clock
from runtime.types import GVR

When = Literal["before", "after"]
_VERBS = ("get", "list", "create", "update", "delete")


class Killed(BaseException):
    """The process ends here: nothing may catch this."""


@dataclass(frozen=True, slots=True)
class Step:
    """A call that is about to be made, or has taken effect and not been answered yet.

    :ivar number: of the call, counted from 0.
    """

    number: int
    when: When
    verb: str
    resource: str


Hook = Callable[[Step], None]


class Steps:
    """Counts the calls of clients made by :meth:`client`, and tells ``hook`` of each, before and after it.

    What ``hook`` raises comes out of the call. Calls that the hook makes itself by another client are not told.
    """

    def __init__(self, hook: Hook = lambda step: None) -> None:
        self.hook = hook
        self.made: list[Step] = []

    def client(self, client: Client) -> Client:
        return cast(Client, _SteppedClient(client, self))

    def call(self, verb: str, resource: str, real: Callable[[], Any]) -> Any:
        step = Step(len(self.made), "before", verb, resource)
        self.made.append(step)
        self.hook(step)
        done = Step(step.number, "after", verb, resource)
        try:
            answer = real()
        except ClientError:
            self.hook(done)
            raise
        self.hook(done)
        return answer


class _SteppedClient:
    def __init__(self, client: Client, steps: Steps) -> None:
        self._client = client
        self._steps = steps

    @property
    def namespace(self) -> str:
        return self._client.namespace

    @property
    def clock(self) -> Clock:
        return self._client.clock

    def resource(self, gvr: GVR, namespace: str | None = None) -> ResourceClient:
        return cast(ResourceClient, _SteppedResource(self._client.resource(gvr, namespace), self._steps))


class _SteppedResource:
    def __init__(self, resource: ResourceClient, steps: Steps) -> None:
        self._resource = resource
        self._steps = steps
        self.gvr = resource.gvr

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._resource, name)
        if name not in _VERBS:
            raise AttributeError(f"{name} is no call that steps know")
        return lambda *args, **kwargs: self._steps.call(name, self.gvr.resource, lambda: real(*args, **kwargs))


def kill_at(number: int, when: When) -> Hook:
    """Dies before or after the call of this number, and at each one after it: what is dead makes no calls."""

    def hook(step: Step) -> None:
        if (step.number, step.when == "after") >= (number, when == "after"):
            raise Killed(f"{when} call {number}")

    return hook


def fail_at(number: int, when: When, error: Exception) -> Hook:
    """The call of this number fails, before or after it took effect."""

    def hook(step: Step) -> None:
        if (step.number, step.when) == (number, when):
            raise error

    return hook


def at(number: int, when: When, act: Callable[[], object]) -> Hook:
    """Something happens before or after the call of this number."""

    def hook(step: Step) -> None:
        if (step.number, step.when) == (number, when):
            act()

    return hook
