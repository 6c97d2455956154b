"""What the containers of one Pod share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.testing.nodes.expand import ConfigError, Sources, environment, expand_all
from runtime.testing.nodes.host import Host
from runtime.testing.nodes.images import CommandNotFound, argv
from runtime.testing.nodes.logs import RunLogs
from runtime.testing.nodes.probes import Target
from runtime.testing.nodes.process import Exit, Process, Program, StartError
from runtime.testing.nodes.rewrite import Mount, Names, Rewriter, signal_own_process
from runtime.testing.nodes.volumes import PodVolumes, VolumeError
from runtime.types import JSONMapping, JSONObject

_TERMINATION_MESSAGE = 4096  # bytes of a termination message that are reported
_EXEC_OUTPUT = 10 * 1024  # bytes of an exec'd command's output that are kept


def hostname_of(pod: JSONMapping) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Prepared:
    """A container made ready to start: what to start, and how to reach and enter it afterwards."""

    program: Program
    rewriter: Rewriter


class PodContext:
    """Turns a Pod's containers into programs. Used by the Pod's worker thread, ``execute`` by its helpers too."""

    def __init__(self, host: Host, pod: JSONObject) -> None:
        metadata = pod["metadata"]
        self.host = host
        self.pod = pod
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        self.uid: str = metadata["uid"]
        self.folder = host.root / "pods" / f"{self.namespace}_{self.name}_{self.uid}"
        self.logs = RunLogs(self.folder / "logs")
        subdomain = pod["spec"].get("subdomain") or ""
        self.address = host.network.pod(self.namespace, hostname_of(pod) if subdomain else self.name, subdomain)
        self._bound = host.network.bound(self.address)
        self._sources = Sources(
            configmap=lambda name: host.lookups.configmap(self.namespace, name),
            secret=lambda name: host.lookups.secret(self.namespace, name),
            fields={
                "status.podIP": self.address,
                "status.podIPs": self.address,
                "status.hostIP": host.network.host_address,
                "status.hostIPs": host.network.host_address,
                "spec.nodeName": host.node_name,
            },
            allocatable=host.allocatable,
        )
        self.volumes = PodVolumes(self.folder / "volumes", self._sources, self._claim)

    def prepare(self, container: JSONMapping, restart: int) -> Prepared:
        """What to start for this container now.

        :param restart: its restart count, which names the log file.
        :raises ConfigError: it refers to a ConfigMap, Secret or key that is missing.
        :raises VolumeError: a mount is impossible.
        :raises MissingBinary: its image stands for a program that is not on this machine.
        :raises CommandNotFound: its command is unknown here.
        """
        base = self._base_environment(container)
        variables = environment(self.pod, container, base, self._sources)
        mounts = [*self.volumes.mounts(container, variables), self._termination_mount(container)]
        rewriter = Rewriter(self._names(), mounts)
        words = rewriter.words(expand_all(container.get("command"), variables))
        args = rewriter.words(expand_all(container.get("args"), variables))
        command = self.host.images.command(container, words, args)
        env = {name: value if base.get(name) == value else rewriter.text(value) for name, value in variables.items()}
        program = Program(
            executable=command.executable,
            argv=command.argv,
            env=env,
            cwd=self._working_directory(container, rewriter),
            log=self.logs.file(container["name"], restart),
        )
        return Prepared(program, rewriter)

    def remove(self) -> None:
        """Delete the Pod's folder: emptyDirs, logs, work folders."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def termination_message(self, container: JSONMapping) -> str:
        """What the container's last run left in its ``terminationMessagePath``; empty if it left nothing. A program
        finds that file where its arguments or environment name the path."""
        try:
            with self._termination_file(container).open("rb") as file:
                return file.read(_TERMINATION_MESSAGE).decode(errors="replace")
        except OSError:
            return ""

    def _termination_mount(self, container: JSONMapping) -> Mount:
        """An empty file for the run that is about to start."""
        file = self._termination_file(container)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
        return Mount(str(container.get("terminationMessagePath") or "/dev/termination-log"), str(file))

    def _termination_file(self, container: JSONMapping) -> Path:
        return self.folder / "termination" / str(container["name"])

    def target(self, container: JSONMapping, prepared: Prepared, process: Process) -> Target:
        """How probes and hooks reach the container while ``process`` is its main process."""
        ports = {port["name"]: port["containerPort"] for port in container.get("ports") or () if port.get("name")}
        return Target(self._bound, ports, prepared.rewriter, self._executor(container, prepared, process))

    def _executor(
        self, container: JSONMapping, prepared: Prepared, process: Process
    ) -> Callable[[Sequence[str], float], Exit]:
        def execute(command: Sequence[str], timeout: float) -> Exit:
            words = signal_own_process(prepared.rewriter.words(command), process.pid)
            program = prepared.program
            if not words:
                raise StartError("the exec command is empty")
            try:
                executable = self.host.images.find(
                    str(container.get("image") or ""), words[0], search=program.env.get("PATH"), cwd=program.cwd
                )
            except CommandNotFound as error:
                raise StartError(str(error)) from error
            env = {**program.env, "CONTAINER_PID": str(process.pid)}
            run = Program(executable, argv(executable, words), env, program.cwd, capture=_EXEC_OUTPUT, owner=process.id)
            return self.host.processes.run(run, timeout)

        return execute

    def _names(self) -> Names:
        network, lookups = self.host.network, self.host.lookups
        return Names(
            self._bound, self.namespace, network.pod, network.service, lookups.service_exists, self.host.domain
        )

    def _base_environment(self, container: JSONMapping) -> Mapping[str, str]:
        """What a process of this machine needs, and what a container is given besides its own ``env``."""
        name = str(container.get("image") or "")
        image = self.host.images.lookup(name)
        programs = self.folder / "programs" / container["name"]
        folders = [str(programs)] if self.host.images.link_programs(name, programs) else []
        folders += [image.path] if image.path else []
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        if folders:
            inherited["PATH"] = os.pathsep.join([*folders, inherited.get("PATH") or os.defpath])
        return {**inherited, "HOSTNAME": hostname_of(self.pod), **image.env, **self.host.env}

    def _working_directory(self, container: JSONMapping, rewriter: Rewriter) -> str:
        wanted = container.get("workingDir")
        if wanted:
            path = Path(rewriter.text(wanted))
            if not path.is_dir():
                raise ConfigError(f"workingDir {wanted} does not exist on this machine: mount a volume there")
            return str(path)
        work = self.folder / "work" / container["name"]
        work.mkdir(parents=True, exist_ok=True)
        return str(work)

    def _claim(self, name: str) -> Path:
        claim = self.host.lookups.claim(self.namespace, name)
        if claim is None:
            raise VolumeError(f'persistentvolumeclaim "{name}" not found')
        if claim.deletion_timestamp is not None:
            raise VolumeError(f'persistentvolumeclaim "{name}" is being deleted')
        return self.host.claims.use(claim, self.uid)
