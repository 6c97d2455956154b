"""What the streams of a port-forward connection mean: in kubectl's SPDY, and in the older channels of a WebSocket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from runtime.testing.apiserver.streams import spdy, websocket
from runtime.testing.apiserver.streams.relay import Over, Relay

MAX_CHANNEL_PORTS: Final = 127  # a byte numbers two channels for each
_MAX_STREAMS: Final = 1000  # that are open at once
_EARLY: Final = 64 * 1024  # bytes of a data stream whose error stream is yet to come
_PAYLOAD: Final = 32 * 1024
_PORT, _STREAM_TYPE, _REQUEST_ID = "port", "streamtype", "requestid"


@dataclass(frozen=True, slots=True)
class Pod:
    """Whose ports they are, as messages name it."""

    name: str
    uid: str

    def error(self, port: int, why: str) -> bytes:
        return f"error forwarding port {port} to pod {self.name}, uid {self.uid}: {why}".encode()


class _WebSocket:
    """Messages from and to the client."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._reader = websocket.Reader()
        self._said: bytes | None = None  # how it is closed

    def receive(self, data: bytes) -> Iterator[websocket.Part]:
        """The binary messages. :raises Over:"""
        try:
            for part in self._reader.feed(data):
                if part.opcode == websocket.BINARY:
                    yield part
                else:
                    self._control(part)
        except websocket.FrameError:
            self._said = websocket.close(websocket.PROTOCOL_ERROR)
            raise Over from None

    def _control(self, part: websocket.Part) -> None:
        if part.opcode == websocket.PING:
            self._relay.send(websocket.encode(websocket.PONG, part.data))
        elif part.opcode == websocket.CLOSE:
            self._said = websocket.encode(websocket.CLOSE, part.data[:2])
            raise Over
        elif part.opcode == websocket.TEXT:
            self._said = websocket.close(websocket.UNSUPPORTED_DATA)
            raise Over

    def send(self, payload: bytes) -> None:
        self._relay.send(websocket.encode(websocket.BINARY, payload))

    def farewell(self) -> bytes:
        return websocket.close(websocket.NORMAL) if self._said is None else self._said


@dataclass(slots=True)
class _Pair:
    """The two streams of one connection to a port; 0 for one that is not there, or has ended.

    :param early: what came on the data stream before the error stream was there.
    :param finished: the client sends no more data.
    :param ended: the Pod does not, either.
    """

    request: str
    port: int
    error: int = 0
    data: int = 0
    early: bytes = b""
    opened: bool = False
    finished: bool = False
    ended: bool = False


class SpdySession:
    """A client's SPDY connection: a pair of streams for each of its connections to a port.

    :param tunnelled: the frames come in the messages of a WebSocket.
    """

    def __init__(self, pod: Pod, *, tunnelled: bool) -> None:
        self._pod = pod
        self._tunnelled = tunnelled
        self._web: _WebSocket | None = None
        self._reader = spdy.Reader()
        self._writer = spdy.Writer()
        self._waiting: dict[str, _Pair] = {}  # by request, until both streams are there
        self._streams: dict[int, _Pair] = {}
        self._last = 0

    def start(self, relay: Relay) -> None:
        self._relay = relay
        if self._tunnelled:
            self._web = _WebSocket(relay)

    def receive(self, data: bytes) -> None:
        if self._web is None:
            self._frames(data)
            return
        for part in self._web.receive(data):
            self._frames(part.data)

    def farewell(self) -> bytes:
        return b"" if self._web is None else self._web.farewell()

    def _send(self, frame: bytes) -> None:
        if self._web is None:
            self._relay.send(frame)
        else:
            self._web.send(frame)

    def _frames(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._frame(frame)
        except spdy.FrameError:
            self._send(spdy.goaway(self._last, spdy.PROTOCOL_ERROR))
            raise Over from None

    def _frame(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.Data():
                self._data(frame)
            case spdy.SynStream():
                self._syn_stream(frame)
            case spdy.RstStream():
                self._rst_stream(frame.stream)
            case spdy.Ping() if frame.id % 2:  # of the client; an even one would answer one of ours
                self._send(spdy.ping(frame.id))
            case spdy.GoAway():
                raise Over
            case _:
                pass

    # -- from the client

    def _syn_stream(self, frame: spdy.SynStream) -> None:
        if frame.stream % 2 == 0 or frame.stream <= self._last:
            self._send(spdy.rst_stream(frame.stream, spdy.PROTOCOL_ERROR))
            return
        self._last = frame.stream
        if len(self._streams) >= _MAX_STREAMS:
            self._send(spdy.rst_stream(frame.stream, spdy.REFUSED_STREAM))
            return
        pair = self._pair_of(frame)
        if pair is None:
            self._send(spdy.rst_stream(frame.stream, spdy.CANCEL))
            return
        self._streams[frame.stream] = pair
        self._send(self._writer.syn_reply(frame.stream))
        pair.finished = pair.finished or (frame.fin and frame.stream == pair.data)
        if pair.data and pair.error:
            self._open(pair)

    def _pair_of(self, frame: spdy.SynStream) -> _Pair | None:
        """Where it belongs; None: nowhere."""
        kind, port = frame.headers.get(_STREAM_TYPE, ""), port_of(frame.headers.get(_PORT, ""))
        if port is None or kind not in ("data", "error"):
            return None
        # Clients of long ago open the error stream and then the data stream, and name no request.
        request = frame.headers.get(_REQUEST_ID) or str(frame.stream - (2 if kind == "data" else 0))
        pair = self._waiting.setdefault(request, _Pair(request, port))
        if pair.data if kind == "data" else pair.error:
            return None
        if kind == "data":
            pair.data, pair.port = frame.stream, port
        else:
            pair.error = frame.stream
        return pair

    def _open(self, pair: _Pair) -> None:
        del self._waiting[pair.request]
        pair.opened = True
        early, pair.early = pair.early, b""
        key = pair.data
        self._relay.open(key, pair.port)
        self._relay.to_pod(key, early)
        if pair.finished:
            self._relay.end_pod(key)

    def _data(self, frame: spdy.Data) -> None:
        pair = self._streams.get(frame.stream)
        if pair is None or frame.stream != pair.data or pair.finished:
            return  # nobody sends anything by an error stream but us
        if pair.opened:
            self._relay.to_pod(pair.data, frame.data)
        else:
            pair.early += frame.data
            if len(pair.early) > _EARLY:
                self._send(spdy.rst_stream(pair.data, spdy.CANCEL))
                self._rst_stream(pair.data)
                return
        if frame.fin:
            pair.finished = True
            if pair.opened:
                self._relay.end_pod(pair.data)
            if pair.ended:
                self._close(pair)

    def _rst_stream(self, stream: int) -> None:
        pair = self._streams.pop(stream, None)
        if pair is None:
            return
        if stream == pair.error:
            pair.error = 0
            if not pair.data:
                self._close(pair)
            return
        self._relay.drop(pair.data)
        pair.data = 0
        self._close(pair)

    # -- from the Pod

    def from_pod(self, key: int, data: bytes) -> None:
        for at in range(0, len(data), _PAYLOAD):
            self._send(spdy.data(key, data[at : at + _PAYLOAD]))

    def pod_ended(self, key: int) -> None:
        pair = self._streams[key]
        pair.ended = True
        self._send(spdy.data(key, b"", fin=True))
        self._end_error(pair)
        if pair.finished:
            self._close(pair)

    def pod_failed(self, key: int, why: str) -> None:
        pair = self._streams[key]
        if pair.error:
            self._send(spdy.data(pair.error, self._pod.error(pair.port, why)))
        self._send(spdy.data(key, b"", fin=True))
        self._close(pair)

    def _end_error(self, pair: _Pair) -> None:
        if pair.error:
            self._send(spdy.data(pair.error, b"", fin=True))
            self._streams.pop(pair.error, None)
            pair.error = 0

    def _close(self, pair: _Pair) -> None:
        """Both of its streams are at their end."""
        self._end_error(pair)
        self._streams.pop(pair.data, None)
        if not pair.opened:
            self._waiting.pop(pair.request, None)


class ChannelSession:
    """One connection to each of some ports, two channels each: data, and errors."""

    def __init__(self, pod: Pod, ports: Sequence[int]) -> None:
        self._pod = pod
        self._ports = ports
        self._open = len(ports)
        self._channel: int | None = None  # of the message that is arriving

    def start(self, relay: Relay) -> None:
        self._relay = relay
        self._web = _WebSocket(relay)
        for index, port in enumerate(self._ports):
            for channel in (2 * index, 2 * index + 1):
                self._web.send(bytes([channel]) + port.to_bytes(2, "little"))
        for index, port in enumerate(self._ports):
            relay.open(index, port)

    def receive(self, data: bytes) -> None:
        for part in self._web.receive(data):
            payload = part.data
            if part.first:
                self._channel = None
            if self._channel is None and payload:
                self._channel, payload = payload[0], payload[1:]
            if payload and self._channel is not None and self._channel % 2 == 0:
                self._relay.to_pod(self._channel // 2, payload)

    def farewell(self) -> bytes:
        return self._web.farewell()

    def from_pod(self, key: int, data: bytes) -> None:
        for at in range(0, len(data), _PAYLOAD):
            self._web.send(bytes([2 * key]) + data[at : at + _PAYLOAD])

    def pod_ended(self, key: int) -> None:
        self._relay.drop(key)  # by these channels the client cannot be told of half an end
        self._closed()

    def pod_failed(self, key: int, why: str) -> None:
        self._web.send(bytes([2 * key + 1]) + self._pod.error(self._ports[key], why))
        self._closed()

    def _closed(self) -> None:
        self._open -= 1
        if not self._open:
            self._relay.done()


def port_of(text: str) -> int | None:
    """A port's number; None: it is none."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    return int(text) if 0 < int(text) < 1 << 16 else None
