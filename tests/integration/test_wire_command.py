"""``broker wire``: what passes between a client and the broker, as lines and as a capture, without its login."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.wire.frames import Frame, Reader
from tests.support.commands import command
from tests.support.installation import Installation
from tests.support.workers import ROOT

USER, PASSWORD = "wire-user", "not-to-be-seen-anywhere"


@contextmanager
def recorded(installation: Installation, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The recorder in front of the broker: the URL to use, and its process."""
    recorder = subprocess.Popen(
        [sys.executable, "-m", "broker", "wire", *options],
        cwd=ROOT,
        env=installation.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert recorder.stderr is not None
        port = re.search(r"listening on 127\.0\.0\.1:(\d+) ", recorder.stderr.readline())
        assert port is not None
        vhost = installation.vhost.name
        yield f"amqp://{USER}-{vhost}:{PASSWORD}@127.0.0.1:{port[1]}/{vhost}", recorder
    finally:
        recorder.kill()
        recorder.communicate()


def call(installation: Installation, url: str) -> str:
    """One task asked for by way of that URL; its id."""
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher", "call", "echo", "-a", "value=7", "-o", "jsonl"],
        cwd=ROOT,
        env={**installation.environment, "BROKER_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    reply = json.loads(done.stdout)
    assert reply["result"] == 7
    return str(reply["id"])


def ended(recorder: subprocess.Popen[str]) -> tuple[str, str]:
    recorder.send_signal(signal.SIGINT)
    return recorder.communicate(timeout=30)


def test_a_call_is_seen_frame_by_frame_and_its_login_is_not(
    installation: Installation, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    management, user = installation.vhost.broker.management, f"{USER}-{installation.vhost.name}"
    management.add_user(user, PASSWORD, installation.vhost.name, {"configure": ".*", "write": ".*", "read": ".*"})
    request.addfinalizer(lambda: management.remove_user(user))
    installation.worker()
    capture = tmp_path / "call.pcap"
    with recorded(installation, "-o", "jsonl", "--pcap", str(capture)) as (url, recorder):
        task_id = call(installation, url)
        output, said = ended(recorder)
    frames = [json.loads(line) for line in output.splitlines()]
    methods = [(frame["by"], frame["method"]) for frame in frames]
    for earlier, later in (
        (("client", "connection.start-ok"), ("broker", "connection.open-ok")),
        (("client", "basic.consume"), ("client", "basic.publish")),
        (("client", "basic.publish"), ("broker", "basic.ack")),
        (("broker", "basic.ack"), ("client", "connection.close")),
        (("client", "basic.publish"), ("broker", "basic.deliver")),
    ):
        assert methods.index(earlier) < len(methods) - methods[::-1].index(later)
    asked = [frame for frame in frames if frame["fields"].get("message_id") == task_id]
    assert asked[0]["fields"]["type"] == "echo"
    confirms = [frame for frame in frames if (frame["by"], frame["method"]) == ("broker", "basic.ack")]
    assert confirms
    assert all(re.fullmatch(r"publish 1 after \d+\.\d ms", one["refers_to"]) for one in confirms)
    assert all(frame["problem"] is None for frame in frames)
    assert "connection 1: unconfirmed at the end: 0" in said
    recorded_bytes = capture.read_bytes()
    assert PASSWORD not in output + said
    assert PASSWORD.encode() not in recorded_bytes
    assert [len(frame.raw) for frame in read_capture(recorded_bytes)] == [frame["bytes"] for frame in frames]


def read_capture(data: bytes) -> list[Frame]:
    """The frames of a capture of one connection, in its order."""
    readers = {True: Reader(by_client=True), False: Reader(by_client=False)}
    at, frames = 24, list[Frame]()
    while at < len(data):
        _, _, size, _ = struct.unpack_from("<IIII", data, at)
        packet = data[at + 16 : at + 16 + size]
        (to_port,) = struct.unpack_from(">H", packet, 22)
        frames += readers[to_port == 5672].feed(packet[40:])
        at += 16 + size
    return frames


def test_a_broker_that_is_away_is_said_and_ends_the_client_and_not_the_recorder(
    installation: Installation,
) -> None:
    away = {**installation.environment, "BROKER_URL": "amqp://guest:guest@127.0.0.1:1/"}
    installation.environment.update(away)
    with recorded(installation) as (url, recorder):
        done = subprocess.run(
            [sys.executable, "-m", "dispatcher", "call", "echo", "--timeout", "3"],
            cwd=ROOT,
            env={**away, "BROKER_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 69
        assert recorder.poll() is None
        output, said = ended(recorder)
    assert "error: amqp://guest:***@127.0.0.1:1/ cannot be reached (ConnectionRefusedError" in said
    assert output == ""


def test_a_call_passes_the_frames_that_the_page_shows(installation: Installation) -> None:
    page = (ROOT / "docs" / "wire.md").read_text("utf-8")
    block = page.split("```text frames of a call\n")[1].split("```")[0]
    shown = [tuple(line.split()[2:6]) for line in block.splitlines()]
    filters = ("basic.*", "header", "body", "confirm.*", "channel.open*")
    installation.worker()
    with recorded(installation, *(word for one in filters for word in ("--filter", one))) as (url, recorder):
        call(installation, url.replace(f"{USER}-{installation.vhost.name}:{PASSWORD}", "guest:guest"))
        output, _ = ended(recorder)
    passed = [tuple(line.split()[2:6]) for line in output.splitlines()]
    first = passed.index(("→", "ch", "1", "confirm.select"))
    # What is asked and what is answered are two directions: each keeps its order.
    for arrow in ("→", "←"):
        assert [one for one in passed[first:] if one[0] == arrow] == [one for one in shown if one[0] == arrow]


def test_a_call_and_a_worker_show_their_own_frames_beside_their_data(
    installation: Installation, request: pytest.FixtureRequest
) -> None:
    management, user = installation.vhost.broker.management, f"{USER}-{installation.vhost.name}"
    management.add_user(user, PASSWORD, installation.vhost.name, {"configure": ".*", "write": ".*", "read": ".*"})
    request.addfinalizer(lambda: management.remove_user(user))
    endpoint = installation.settings.broker.endpoints[0]
    url = f"amqp://{user}:{PASSWORD}@{endpoint.host}:{endpoint.port}/{endpoint.vhost}"
    worker = installation.worker("queue_a", "--wire", BROKER_URL=url)
    environment = {**installation.environment, "BROKER_URL": url}
    called = command(environment, "dispatcher", "call", "echo", "-a", "value=7", "--wire")
    assert (called.code, called.out) == (0, "7\n")
    for shown in ("→ ch 1 basic.publish exchange='tasks' routing_key='echo'", "← ch 2 basic.deliver"):
        assert shown in called.err
    worker.wait_for("basic.deliver")
    worker.wait_for("basic.ack delivery_tag=1 (delivery 1 after")
    worker.sigterm()
    assert worker.wait() == 0
    assert "response='****" in called.err
    assert PASSWORD not in called.err + worker.log
