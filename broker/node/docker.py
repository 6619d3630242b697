"""A private broker in a container, for a machine that has Docker and no RabbitMQ.

The container has a name of its own and publishes on loopback only; AMQP on ``bind`` if one is given.
It is not run with ``--rm``, which would throw the data away at the first ``kill``; a guard removes it.
"""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from broker.node import files as node_files
from broker.node.ready import LOOPBACK, Guard, NodeError, NodeInfo, await_ready

IMAGE = "rabbitmq:4-management"

_AMQP, _MANAGEMENT, _PROMETHEUS = 5672, 15672, 15692
_PROBE_S = 5.0
_CALL_S = 30.0
_PULL_S = 600.0
_LOG_LINES = 15
# The second time for a container that was being created when we were killed.
_CLEAN_UP = 'docker rm --force --volumes "$1"; sleep 3; docker rm --force --volumes "$1"'


class DockerNode:
    """A ``PrivateNode`` in a container. ``folder`` and ``pid`` of its info are None."""

    def __init__(self, *, port: int | None = None, bind: str | None = None, config: Sequence[str] = ()) -> None:
        self._port = port
        self._bind = bind
        self._config = tuple(config)
        self.name = f"glassrabbit-{secrets.token_hex(6)}"
        self._guard: Guard | None = None
        self._info: NodeInfo | None = None

    @property
    def info(self) -> NodeInfo:
        if self._info is None:
            raise NodeError("the private broker is not running; start it first")
        return self._info

    def start(self, timeout_s: float = 60) -> NodeInfo:
        """Start it and wait until it is ready. An image that is not here yet is pulled first, outside
        ``timeout_s``."""
        pull_if_missing()
        ports = node_files.pick_ports(self._port, self._bind)
        login = node_files.login_for(self._bind)
        self._info = info = node_files.info_of(ports, login, self._bind)
        try:
            self._guard = Guard(_CLEAN_UP, self.name)
            self._run(info)
            await_ready(info, timeout_s, self._problem)
        except BaseException:
            self.stop()
            raise
        return info

    def kill(self) -> None:
        _docker("kill", "--signal", "KILL", self.name)

    def restart(self, timeout_s: float = 60) -> NodeInfo:
        _docker("start", self.name)
        await_ready(self.info, timeout_s, self._problem)
        return self.info

    def wait(self) -> None:
        _docker("wait", self.name, timeout_s=None)

    def stop(self) -> None:
        if self._guard is None:
            return
        _docker("rm", "--force", "--volumes", self.name)
        self._guard.dismiss()
        self._guard = self._info = None

    def _run(self, info: NodeInfo) -> None:
        """Create the container. The password goes by a file of ours, since anyone can read an argv."""
        with tempfile.TemporaryDirectory(prefix="glassrabbit-") as folder:
            secret = Path(folder, "environment")
            variables = {
                "RABBITMQ_DEFAULT_USER": info.user,
                "RABBITMQ_DEFAULT_PASS": info.password,
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": node_files.ERLANG_ARGUMENTS,
            }
            lines = (f"{name}={value}\n" for name, value in variables.items())
            node_files.write_secret(secret, "".join(lines), 0o600)
            _docker("create", "--name", self.name, "--hostname", "glassrabbit", "--env-file", str(secret),
                    *_publish(self._bind or LOOPBACK, info.port, _AMQP),
                    *_publish(LOOPBACK, info.management_port, _MANAGEMENT),
                    *_publish(LOOPBACK, info.prometheus_port, _PROMETHEUS), IMAGE)  # fmt: skip
            if self._config:
                extra = Path(folder, "90-glassrabbit.conf")
                extra.write_text("\n".join(self._config) + "\n")
                extra.chmod(0o644)
                _docker("cp", str(extra), f"{self.name}:/etc/rabbitmq/conf.d/{extra.name}")
        _docker("start", self.name)

    def _problem(self) -> str | None:
        if _docker("inspect", "--format", "{{.State.Running}}", self.name).strip() == "true":
            return None
        words = _docker("logs", "--tail", str(_LOG_LINES), self.name)
        return f"the broker's container ended; its last words say why:\n{words}".replace(
            self.info.password if self._bind else "\0", "***"
        )


def engine_answers() -> bool:
    """Whether a Docker engine can be used from here."""
    try:
        _docker("version", "--format", "{{.Server.Version}}", timeout_s=_PROBE_S)
    except NodeError:
        return False
    return True


def has_image() -> bool:
    """Whether the image is here already."""
    try:
        _docker("image", "inspect", IMAGE)
    except NodeError:
        return False
    return True


def pull_if_missing() -> None:
    """Have the image. Raises NodeError if it is neither here nor to be pulled."""
    if not has_image():
        _docker("pull", "--quiet", IMAGE, timeout_s=_PULL_S)


def _publish(address: str, ours: int, its: int) -> tuple[str, str]:
    host = f"[{address}]" if ":" in address else address
    return "--publish", f"{host}:{ours}:{its}"


def _docker(*arguments: str, timeout_s: float | None = _CALL_S) -> str:
    """What ``docker ARGUMENTS`` prints, on both streams. Raises NodeError."""
    both = subprocess.STDOUT
    try:
        done = subprocess.run(
            ["docker", *arguments],
            stdout=subprocess.PIPE,
            stderr=both,
            text=True,
            timeout=timeout_s,
            check=True,
        )
    except FileNotFoundError as error:
        raise NodeError("no docker is on this machine: install it, or rabbitmq-server") from error
    except subprocess.TimeoutExpired as error:
        raise NodeError(f"docker {arguments[0]} did not end within {timeout_s} s; is the engine well?") from error
    except subprocess.CalledProcessError as error:
        raise NodeError(f"docker {arguments[0]} failed; correct what it says: {error.stdout.strip()}") from error
    return done.stdout
