"""Credentials that change while the program runs: token files and exec plugins."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import orjson

from runtime.client.errors import ConfigError
from runtime.client.unstructured import parse_time
from runtime.clock import SYSTEM, Clock
from runtime.types import JSONObject

_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_PLUGIN_TIMEOUT = 60.0  # seconds; a plugin that waits for somebody to log in is longer than a controller can wait
_RENEW_AHEAD = 60.0  # seconds before they expire that credentials are renewed, or a tenth of their life if that is less
_RENEW_PAUSE = 5.0  # seconds between two runs of a plugin whose credentials are still good, or were just refused


@dataclass(frozen=True, slots=True)
class Credentials:
    """What authenticates: a bearer token, or a client certificate with its key (PEM), or both."""

    token: str = ""
    certificate: str = ""
    key: str = ""
    expires: datetime | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class CredentialSource(Protocol):
    """Where credentials come from."""

    def get(self, refused: Credentials | None = None) -> Credentials:
        """The present ones, and not the ``refused`` if there are others. The same object until they change."""


def checked_token(token: str | None) -> str:
    """:raises ConfigError: no request can carry it."""
    if not token:
        return ""
    if not (token.isascii() and token.isprintable()):
        # Not shown: it is a secret. Most often it is a file that was read whole.
        raise ConfigError("the token holds a line end or another character that no HTTP header can carry; strip it")
    return token


class TokenFile:
    """A file with a bearer token that someone else renews. Looked at for each request, read when it has changed."""

    def __init__(self, path: str, where: str) -> None:
        """:raises ConfigError: the file cannot be read, is empty, or holds no token."""
        self._path = Path(path)
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._credentials = Credentials()
        try:
            self._look()
        except OSError as e:
            raise ConfigError(f"{where}: the token file {path} cannot be read: {e.strerror}") from None
        except ConfigError as e:
            raise ConfigError(f"{where}: the token file {path}: {e}") from None
        if not self._credentials.token:
            raise ConfigError(f"{where}: the token file {path} is empty")

    def get(self, refused: Credentials | None = None) -> Credentials:  # noqa: ARG002 it has no others
        """The present token; the last good one while the file is missing or empty, or holds no token."""
        with self._lock:
            # It may be being replaced right now, and the old token is still good for minutes.
            with contextlib.suppress(OSError, ConfigError):
                self._look()
            return self._credentials

    def _look(self) -> None:
        stat = self._path.stat()
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen == self._seen:
            return
        token = checked_token(self._path.read_text(encoding="utf-8", errors="replace").strip())
        if token:
            self._seen = seen
            if token != self._credentials.token:
                self._credentials = Credentials(token=token)


class ExecPlugin:
    """The ``exec`` section of a kubeconfig user: a command that prints credentials, run again before they expire.

    Unlike kubectl, a plugin that asks the user something gets no terminal: a controller has nobody to ask.
    """

    def __init__(
        self, config: JSONObject, cluster: JSONObject, directory: str, where: str, clock: Clock | None
    ) -> None:
        """:raises ConfigError: the section is wrong, or the plugin fails at its first run."""
        self._where = f"{where}: exec"
        self._clock = clock or SYSTEM
        self._lock = threading.Lock()  # held while the plugin runs: one run serves everybody who waits for it
        self._version = str(config.get("apiVersion", ""))
        if self._version not in _VERSIONS:
            raise ConfigError(f"{self._where}.apiVersion: {self._version!r} is none of {', '.join(_VERSIONS)}")
        self._command = _command(config, directory, self._where)
        self._hint = str(config.get("installHint") or "")
        self._env = _environment(config, self._where)
        info: JSONObject = {
            "apiVersion": self._version,
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        if config.get("provideClusterInfo"):
            info["spec"]["cluster"] = _cluster_info(cluster)
        self._env["KUBERNETES_EXEC_INFO"] = orjson.dumps(info).decode()
        self._renew_at: datetime | None = None
        self._last_run = 0.0
        self._credentials = self._run()

    def get(self, refused: Credentials | None = None) -> Credentials:
        """Credentials that have not expired and are not the ``refused`` ones, if the plugin has such.

        :raises ConfigError: they have expired and the plugin fails.
        """
        with self._lock:
            unwanted = refused is self._credentials
            due = self._renew_at is not None and self._clock.now() >= self._renew_at
            expired = self._credentials.expires is not None and self._clock.now() >= self._credentials.expires
            if not (unwanted or due):
                return self._credentials
            if not expired and self._clock.monotonic() - self._last_run < _RENEW_PAUSE:
                return self._credentials
            try:
                self._credentials = self._run()
            except ConfigError:
                if expired or unwanted:
                    raise
            return self._credentials

    def _run(self) -> Credentials:
        self._last_run = self._clock.monotonic()
        try:
            done = subprocess.run(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PLUGIN_TIMEOUT,
                check=False,
            )
        except FileNotFoundError:
            hint = f" {self._hint}" if self._hint else " Install it, or correct the path."
            raise ConfigError(f"{self._where}.command: {self._command[0]} is not found.{hint}") from None
        except PermissionError:
            raise ConfigError(f"{self._where}.command: {self._command[0]} may not be executed") from None
        except OSError as e:  # a script without an interpreter, for one
            raise ConfigError(f"{self._where}.command: {self._command[0]} cannot be run: {e.strerror}") from None
        except subprocess.TimeoutExpired:
            raise ConfigError(f"{self._where}: {self._command[0]} gave no answer in {_PLUGIN_TIMEOUT:.0f} s") from None
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()[-500:]
            raise ConfigError(f"{self._where}: {self._command[0]} failed with exit code {done.returncode}: {said}")
        credentials = self._read(done.stdout)
        self._plan_renewal(credentials)
        # The plugin may have printed the very same token: keep the object, so that nobody takes it for a new one.
        return self._credentials if credentials == getattr(self, "_credentials", None) else credentials

    def _read(self, output: bytes) -> Credentials:
        printed = f"{self._where}: {self._command[0]} printed"
        try:
            answer = orjson.loads(output)
        except orjson.JSONDecodeError as e:
            raise ConfigError(f"{printed} something that is not JSON: {e}") from None
        if not isinstance(answer, dict) or answer.get("kind") != "ExecCredential":
            raise ConfigError(f"{printed} something that is no ExecCredential")
        if answer.get("apiVersion") != self._version:
            raise ConfigError(f"{printed} apiVersion {answer.get('apiVersion')!r}, asked was {self._version!r}")
        status = answer.get("status")
        if not isinstance(status, dict):
            raise ConfigError(f"{printed} an ExecCredential without status")
        token, certificate, key = (
            value if isinstance(value := status.get(name), str) else ""
            for name in ("token", "clientCertificateData", "clientKeyData")
        )
        if bool(certificate) != bool(key):
            raise ConfigError(f"{printed} one of clientCertificateData and clientKeyData without the other")
        if not token and not certificate:
            raise ConfigError(f"{printed} neither a token nor clientCertificateData")
        try:
            checked_token(token)
        except ConfigError as e:
            raise ConfigError(f"{printed} what cannot be used: {e}") from None
        return Credentials(token, certificate, key, parse_time(status.get("expirationTimestamp")))

    def _plan_renewal(self, credentials: Credentials) -> None:
        self._renew_at = None
        if credentials.expires is not None:
            life = (credentials.expires - self._clock.now()).total_seconds()
            self._renew_at = credentials.expires - timedelta(seconds=min(_RENEW_AHEAD, max(life, 0.0) / 10))


def _command(config: JSONObject, directory: str, where: str) -> list[str]:
    command = config.get("command")
    if not isinstance(command, str) or not command:
        raise ConfigError(f"{where}.command is not set")
    if config.get("interactiveMode") == "Always":
        raise ConfigError(f"{where}.interactiveMode: Always needs a terminal, which a controller does not have")
    if os.sep in command and not os.path.isabs(command):
        command = os.path.join(directory, command)
    args = config.get("args") or []
    if not isinstance(args, list):
        raise ConfigError(f"{where}.args must be a list")
    return [command, *map(str, args)]


def _environment(config: JSONObject, where: str) -> dict[str, str]:
    env = dict(os.environ)
    for i, variable in enumerate(config.get("env") or []):
        if not isinstance(variable, dict) or not variable.get("name"):
            raise ConfigError(f"{where}.env[{i}] has no name")
        env[str(variable["name"])] = str(variable.get("value") or "")
    return env


def _cluster_info(cluster: JSONObject) -> JSONObject:
    kept = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
    info = {key: cluster[key] for key in kept if key in cluster}
    if "certificate-authority" in cluster:
        import base64

        info["certificate-authority-data"] = base64.b64encode(
            Path(cluster["certificate-authority"]).read_bytes()
        ).decode()
    for extension in cluster.get("extensions") or []:
        if isinstance(extension, dict) and extension.get("name") == "client.authentication.k8s.io/exec":
            info["config"] = extension.get("extension")
    return info
