"""What a private RabbitMQ node is made of: its ports, its login, its configuration, its environment.

Values in, text out; nothing here starts anything. Every path that RabbitMQ would otherwise take from
``/etc/rabbitmq`` or ``/var/lib/rabbitmq`` is set, so that a system broker is neither read nor touched.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.node.ready import LOOPBACK, NodeError, NodeInfo, reachable_host

NODE_NAME = "glassrabbit@localhost"
#: A message of the delay line that a crash of the broker keeps from its next queue is handed on again after so
#: long, instead of 180 s; no key of rabbitmq.conf sets it. A queue that is slower than that gets messages twice.
HAND_ON_AGAIN_MS = 10_000
ERLANG_ARGUMENTS = f"-rabbit dead_letter_worker_publisher_confirm_timeout {HAND_ON_AGAIN_MS}"
PLUGINS = "[rabbitmq_management,rabbitmq_prometheus].\n"

# Below the ephemeral ranges of Linux and macOS: a client that knocks on an ephemeral port of a dead node
# can be connected to itself, and then the restarted node finds its port taken.
_PORTS = range(20000, 30000)
_DEBIAN_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@dataclass(frozen=True)
class Login:
    """A user of the node."""

    user: str = "guest"
    password: str = field(default="guest", repr=False)


@dataclass(frozen=True)
class Ports:
    """The TCP ports of one node. All but ``amqp`` are on loopback, always."""

    amqp: int
    management: int
    prometheus: int
    dist: int
    epmd: int


def login_for(bind: str | None) -> Login:
    """``guest`` where only this machine can connect; else a user with 192 random bits of password."""
    return Login() if bind is None else Login("glassrabbit", secrets.token_urlsafe(24))


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As Erlang does: connections in TIME_WAIT do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def pick_ports(amqp: int | None, bind: str | None) -> Ports:
    """Five free ports; ``amqp`` as given, if it is. Raises NodeError if it or ``bind`` cannot be had."""
    address = bind or LOOPBACK
    # Port 0 is always free on an address that is ours.
    if not is_free(address, amqp or 0):
        place = f"{address} port {amqp}" if amqp else address
        raise NodeError(f"cannot listen on {place}: give an address of this machine and a port that is free")
    free = (port for port in random.sample(_PORTS, len(_PORTS)) if is_free(LOOPBACK, port))
    if amqp is None:
        amqp = next(port for port in free if is_free(address, port))
    others = (port for port in free if port != amqp)
    return Ports(amqp, next(others), next(others), next(others), next(others))


def info_of(ports: Ports, login: Login, bind: str | None, folder: Path | None = None) -> NodeInfo:
    """What is known of a node before it runs; ``folder`` None: it runs in a container."""
    return NodeInfo(
        user=login.user,
        password=login.password,
        host=reachable_host(bind),
        port=ports.amqp,
        management_port=ports.management,
        prometheus_port=ports.prometheus,
        pid=None,
        folder=folder,
    )


def config_text(ports: Ports, login: Login, extra: Sequence[str]) -> str:
    """``rabbitmq.conf``. It holds the password: write it for the owner only."""
    lines = [
        f"default_user = {login.user}",
        f"default_pass = {login.password}",
        f"management.tcp.ip = {LOOPBACK}",
        f"management.tcp.port = {ports.management}",
        f"prometheus.tcp.ip = {LOOPBACK}",
        f"prometheus.tcp.port = {ports.prometheus}",
        *extra,
    ]
    return "\n".join(lines) + "\n"


def environment(folder: Path, ports: Ports, bind: str | None) -> dict[str, str]:
    """The whole environment of the node; of ours only PATH is passed on."""
    return {
        "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
        "HOME": str(folder / "home"),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(ports.epmd),
        "ERL_CRASH_DUMP_BYTES": "0",
        "RABBITMQ_NODENAME": NODE_NAME,
        "RABBITMQ_NODE_IP_ADDRESS": bind or LOOPBACK,
        "RABBITMQ_NODE_PORT": str(ports.amqp),
        "RABBITMQ_DIST_PORT": str(ports.dist),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{127,0,0,1}} {ERLANG_ARGUMENTS}",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_SCHEMA_DIR": str(folder / "schema"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_PLUGINS_EXPAND_DIR": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        # Cores are not ours alone: schedulers bound to them would queue up behind a second node's.
        "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
        # Makes the script replace itself by the Erlang VM, so that the pid we hold is the broker's.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def write_files(folder: Path, config: str) -> None:
    """Everything that the node reads. The folder is made by the caller, for the owner only."""
    for name in ("home", "conf.d", "log", "data"):
        (folder / name).mkdir()
    (folder / "enabled_plugins").write_text(PLUGINS)
    write_secret(folder / "rabbitmq.conf", config, 0o600)
    write_secret(folder / "home" / ".erlang.cookie", secrets.token_hex(20), 0o400)


def write_secret(path: Path, text: str, mode: int) -> None:
    """A file that only its owner could ever open. Raises FileExistsError if something is there."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)


def find_server() -> Path | None:
    """A ``rabbitmq-server`` that runs as the user who calls it.

    Packages put a wrapper on PATH that changes to the user ``rabbitmq`` and to the system's folders; the
    real script is known by the ``rabbitmq-env`` beside it.
    """
    candidates = [_DEBIAN_SERVER]
    if brew := shutil.which("brew"):
        candidates.append(Path(brew).parent.parent / "opt/rabbitmq/sbin/rabbitmq-server")
    if on_path := shutil.which("rabbitmq-server"):
        candidates.append(Path(on_path).resolve())
    for script in candidates:
        if os.access(script, os.X_OK) and (script.parent / "rabbitmq-env").exists():
            return script
    return None


def find_epmd() -> Path | None:
    """Erlang's port mapper: on PATH, or where ``erl`` really is."""
    if on_path := shutil.which("epmd"):
        return Path(on_path)
    if erl := shutil.which("erl"):
        beside = Path(erl).resolve().parent / "epmd"
        return beside if os.access(beside, os.X_OK) else None
    return None
