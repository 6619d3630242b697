"""compose.yaml as a user runs it: scaled, stopped, given another broker, and with RabbitMQ's container renewed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.node.local import private_node
from tests.support.waiting import eventually

_ROOT = Path(__file__).parents[2]
#: compose.yaml as impatient tests use it.
COMPOSE_FILES = os.pathsep.join(["compose.yaml", "tests/support/compose.yaml"])
_HEALTHY = ("python", "-IS", "/usr/local/bin/healthy.py")
_TOKEN = "what-the-metrics-ask-for"
#: What worker-a's metrics answer to another machine, with each of these headers.
_SCRAPE = """
import sys, urllib.error, urllib.request
for headers in ({}, {"Authorization": "Bearer " + sys.argv[1]}):
    request = urllib.request.Request("http://worker-a:9870/metrics", None, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            print(answer.status, b"glassrabbit_worker_ready 1.0" in answer.read())
    except urllib.error.HTTPError as error:
        print(error.code, error.reason)
"""
#: What compose gives a worker to stop in.
_GRACE_S = 40
#: For what must happen at once, on a busy machine.
_SIGNAL_S = 30.0

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


class Project:
    """One compose project: own image, names, volume, and ports that the engine picks."""

    def __init__(self) -> None:
        self.name = f"glassrabbit-test-{uuid.uuid4().hex[:8]}"
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("RABBITMQ_")},
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_FILE": COMPOSE_FILES,
            "GLASSRABBIT_IMAGE": self.name,
            "GLASSRABBIT_AMQP_PORT": "0",
            "GLASSRABBIT_MANAGEMENT_PORT": "0",
            "GLASSRABBIT_METRICS_TOKEN": _TOKEN,
        }

    def compose(self, *arguments: str, exit_code: int = 0) -> str:
        """What ``docker compose ARGUMENTS`` prints on standard output."""
        done = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=_ROOT, env=self.environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240,
        )  # fmt: skip
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done.stdout

    def dispatcher(self, *arguments: str, environ: Mapping[str, str] | None = None) -> str:
        """What the dispatcher's container prints. Wide, so that no column of a table is folded."""
        given = [f"--env={key}={value}" for key, value in {"COLUMNS": "200", **(environ or {})}.items()]
        return self.compose("run", "--rm", "-T", *given, "dispatcher", *arguments)

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--all", "--quiet", service).split()

    def host_address(self) -> str:
        """The address of this machine that containers reach as host.docker.internal."""
        if sys.platform == "darwin":  # Docker Desktop leads them to loopback.
            return "127.0.0.1"
        asked = self.compose("exec", "-T", "worker-b", "getent", "hosts", "host.docker.internal")
        return asked.split()[0]

    def up(self, *arguments: str) -> None:
        """Start what is not running yet, and wait until it is healthy."""
        self.compose("up", "--detach", "--no-recreate", "--wait", *arguments)

    def remove(self) -> None:
        self.compose("--profile", "dispatcher", "down", "--volumes", "--remove-orphans", "--timeout", "5")
        _docker("image", "rm", "--force", self.name)


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    project = Project()
    try:
        project.up()
        yield project
    finally:
        project.remove()


def test_every_port_is_published_on_loopback_only(project: Project) -> None:
    profiles = ("--profile", "dispatcher", "--profile", "monitoring")
    services = json.loads(project.compose(*profiles, "config", "--format", "json"))["services"]
    assert set(services) == {"rabbitmq", "worker-a", "worker-b", "dispatcher", "prometheus", "grafana"}
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert {port["target"] for port in ports} == {5672, 15672, 9090, 3000}


def test_a_login_of_ones_own_reaches_rabbitmq_and_its_clients() -> None:
    project = Project()
    project.environ |= {"RABBITMQ_DEFAULT_USER": "someone", "RABBITMQ_DEFAULT_PASS": "secret"}
    services = json.loads(project.compose("--profile", "dispatcher", "config", "--format", "json"))["services"]
    server = services.pop("rabbitmq")["environment"]
    assert server["RABBITMQ_DEFAULT_USER"] == "someone"
    assert server["RABBITMQ_DEFAULT_PASS"] == "secret"
    urls = {service["environment"]["BROKER_URL"] for service in services.values()}
    assert urls == {"amqp://someone:secret@rabbitmq:5672/"}


def test_the_image_is_not_root_and_looks_for_a_broker_on_the_host(project: Project) -> None:
    config = _inspect(project.name)["Config"]
    assert re.fullmatch(r"[1-9]\d+", config["User"])
    assert config["Entrypoint"] == ["glassrabbit"]
    assert "BROKER_URL=amqp://guest:guest@host.docker.internal:5672/" in config["Env"]


def test_a_worker_cannot_change_its_own_code(project: Project) -> None:
    writable = "find /app /usr/local/bin -writable; id -u"
    assert project.compose("exec", "-T", "worker-a", "sh", "-c", writable).split() == ["10001"]


def test_the_image_holds_the_packages_and_the_configuration_alone(project: Project) -> None:
    found = set(project.compose("exec", "-T", "worker-a", "ls", "-A", "/app").split())
    assert found == {"protocol", "broker", "worker", "dispatcher", "config.yml", "pyproject.toml"}


def test_the_table_of_a_dispatcher_names_every_scaled_worker(project: Project) -> None:
    project.up("--scale", "worker-a=3")
    workers = project.containers("worker-a")
    assert len(workers) == 3
    workload = "[{task: task_a, count: 30}, {task: task_b, count: 5}]"
    table = project.dispatcher(environ={"GLASSRABBIT__WORKLOAD": workload})
    named = set(re.findall(r"[0-9a-f]{12}(?=:\d)", table))
    assert named == {worker[:12] for worker in workers + project.containers("worker-b")}
    assert "35 of 35 done" in table
    logs = project.compose("logs", "--no-log-prefix", "worker-a", "worker-b")
    done = re.findall(r" task [0-9a-f]{32} \((task_[ab])\) attempt 1 done in [\d.]+ s by ([0-9a-f]{12}):\d+", logs)
    assert (len(done), {name for _, name in done}) == (35, named)


def test_the_dispatcher_takes_commands(project: Project) -> None:
    project.up()
    assert json.loads(project.dispatcher("call", "noop", "-a", "data=[1,2]", "-o", "json"))["result"] == [1, 2]


def test_without_a_token_workers_serve_their_metrics_to_nobody_else(project: Project) -> None:
    environ = {**project.environ, "GLASSRABBIT_METRICS_TOKEN": ""}
    config = ["docker", "compose", "config", "--format", "json"]
    done = subprocess.run(config, cwd=_ROOT, env=environ, capture_output=True, text=True, check=True, timeout=60)
    given = json.loads(done.stdout)["services"]["worker-a"]["environment"]
    assert {given[f"GLASSRABBIT__WORKER__HTTP__{key}"] for key in ("BIND", "TOKEN")} == {""}


def test_metrics_are_for_those_with_the_token(project: Project) -> None:
    project.up()
    asked = project.compose("exec", "-T", "worker-b", "python", "-c", _SCRAPE, _TOKEN)
    assert asked.splitlines() == ["401 Unauthorized", "200 True"]


def test_a_worker_is_healthy_as_long_as_it_is_ready(project: Project) -> None:
    project.up()
    (worker,) = project.containers("worker-b")
    assert _inspect(worker)["State"]["Health"]["Status"] == "healthy"
    project.compose("kill", "rabbitmq")
    try:
        assert "not ready: " in _stderr("docker", "exec", worker, *_HEALTHY, exit_code=1)
    finally:
        project.up("rabbitmq")
    # What Docker says is up to one interval old: it may not have seen the worker unhealthy at all.
    ask = ["docker", "exec", worker, *_HEALTHY]
    eventually(lambda: subprocess.run(ask, timeout=60).returncode == 0, "the worker is ready again", _SIGNAL_S)


def test_workers_of_containers_that_share_their_processes_are_each_healthy_by_themselves(project: Project) -> None:
    project.up()
    (worker,) = project.containers("worker-a")
    shared = ["--pid", f"container:{worker}", "--network", f"container:{worker}", "--user", "10002"]
    nowhere = "BROKER_URL=amqp://guest:guest@127.0.0.1:9/"
    other = _docker(
        "run", "--detach", "--rm", *shared, "--env", nowhere, project.name, "worker", "queue_b"
    ).strip()
    try:
        _await_log(other, "health and metrics at ")
        assert "not ready: " in _stderr("docker", "exec", other, *_HEALTHY, exit_code=1)
        assert _stderr("docker", "exec", worker, *_HEALTHY, exit_code=0) == ""
    finally:
        _docker("stop", other)


def test_tasks_wait_on_the_volume_while_the_container_of_rabbitmq_is_renewed(project: Project) -> None:
    project.up()
    project.compose("stop", "worker-a")
    submitted = {project.dispatcher("submit", "task_a", "--mailbox", "waiting").strip() for _ in range(2)}
    before = project.containers("rabbitmq")
    project.compose("up", "--detach", "--force-recreate", "--no-deps", "--timeout", "5", "--wait", "rabbitmq")
    assert project.containers("rabbitmq") != before
    project.up("worker-a")
    replies = project.dispatcher("collect", "waiting", "-n", "2", "--timeout", "60").splitlines()
    assert {json.loads(reply)["id"] for reply in replies} == submitted


def test_a_stopped_worker_finishes_its_task_and_exits_with_0(project: Project) -> None:
    project.up("--scale", "worker-a=1")
    (worker,) = project.containers("worker-a")
    with socket.create_server((project.host_address(), 0)) as web:
        web.settimeout(_SIGNAL_S)
        address = f"http://host.docker.internal:{web.getsockname()[1]}/"
        task = project.dispatcher("submit", "http.fetch", "-a", f"url={address}", "--mailbox", "stopped").strip()
        running, _ = web.accept()
        started = time.monotonic()
        stop = subprocess.Popen(["docker", "compose", "stop", "worker-a"], cwd=_ROOT, env=project.environ)
        _await_log(worker, "SIGTERM: finishing what runs")
        with running:
            running.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        assert stop.wait(_SIGNAL_S) == 0
    assert time.monotonic() - started < _GRACE_S
    state = _inspect(worker)["State"]
    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    reply = json.loads(project.dispatcher("collect", "stopped", "-n", "1"))
    assert (reply["id"], reply["result"]["text"], reply["attempts"]) == (task, "hi", 1)


def test_a_container_runs_functions_from_a_mounted_folder_for_a_broker_on_the_host(
    project: Project, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "jobs.py").write_text("def shout(text: str) -> str:\n    return text.upper()\n")
    (tmp_path / "worker.py").write_text("raise SystemExit('a file of the user was run')\n")
    (tmp_path / "config.yml").write_text(
        "queues: {loud: {}}\ntasks: {shout: {queue: loud, handler: jobs:shout}}\n"
    )
    config = str(tmp_path / "config.yml")
    project.up()
    with private_node(bind=project.host_address()) as node:
        own = node.info.url
        away = own.replace(node.info.host, "host.docker.internal")
        worker = project.compose(
            "run", "--detach", "--no-deps", f"--env=BROKER_URL={away}", f"--volume={tmp_path}:/jobs:ro",
            "--workdir=/jobs", "worker-a", "worker", "loud",
        ).strip()  # fmt: skip
        try:
            _await_log(worker, "handlers cannot import /jobs/worker.py: the name worker belongs to Glassrabbit")
            _await_log(worker, "ready")
            call = subprocess.run(
                [sys.executable, "-m", "dispatcher", "call", "shout", "-a", "text=hello", "-o", "json"],
                cwd=_ROOT, env={**os.environ, "BROKER_URL": own, "GLASSRABBIT_CONFIG": config},
                capture_output=True, text=True, timeout=90,
            )  # fmt: skip
            assert call.returncode == 0, call.stderr + _docker("logs", worker)
            reply = json.loads(call.stdout)
            assert reply["result"] == "HELLO"
            assert reply["worker"].startswith(_inspect(worker)["Id"][:12])
        finally:
            _docker("rm", "--force", worker)


def _docker(*arguments: str) -> str:
    """What ``docker ARGUMENTS`` prints, on both streams."""
    done = subprocess.run(
        ["docker", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _stderr(*command: str, exit_code: int) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stderr


def _inspect(name: str) -> dict[str, Any]:
    (found,) = json.loads(_docker("inspect", name))
    assert isinstance(found, dict)
    return found


def _await_log(container: str, text: str) -> None:
    """Return once a container's log has ``text`` in it."""
    logs = subprocess.Popen(
        ["docker", "logs", "--follow", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = threading.Timer(_SIGNAL_S, logs.kill)
    deadline.start()
    assert logs.stdout is not None
    with logs:
        found = any(text in line for line in logs.stdout)
        logs.kill()
    deadline.cancel()
    assert found, f"{text!r} did not appear in the log"
