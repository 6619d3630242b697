"""The client of the management API: where its login goes, and what it says of odd answers."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from broker.config.settings import BrokerSettings
from broker.errors import AccessRefused, Unreachable
from broker.management import Management


class Server:
    """Answers every request alike, and keeps what it was asked, with what login."""

    def __init__(self, status: int, body: str, headers: dict[str, str]) -> None:
        self.asked: list[tuple[str, str | None]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                login = self.headers.get("Authorization")
                asked.append((self.path, login and base64.b64decode(login.removeprefix("Basic ")).decode()))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                """Nothing on standard error."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@contextmanager
def answering(status: int = 200, body: str = "{}", **headers: str) -> Iterator[Server]:
    server = Server(status, body, headers)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        thread.join()
        server.http.server_close()


def api(url: str, **further: str) -> Management:
    keys = {"url": "amqp://u:secret@h/v", "management_url": url, **further}
    return Management.of(BrokerSettings.model_validate(keys))


def test_a_path_prefix_is_part_of_the_url() -> None:
    with answering() as server:
        api(f"{server.url}/rabbit/").overview()
    assert server.asked == [("/rabbit/api/overview", "u:secret")]


def test_it_may_have_a_login_of_its_own() -> None:
    with answering() as server:
        api(server.url, management_user="watcher", management_password="p:1").overview()
    assert server.asked == [("/api/overview", "watcher:p:1")]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_login_goes_to_no_proxy_of_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with answering() as proxy, answering() as server:
        monkeypatch.setenv(variable, proxy.url)
        api(server.url).overview()
    assert (len(server.asked), proxy.asked) == (1, [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_login_follows_no_answer_to_another_place(status: int) -> None:
    with answering() as other, answering(status, Location=f"{other.url}/api/overview") as server:
        with pytest.raises(Unreachable, match=rf"answered HTTP {status}\. Check broker\.management_url"):
            api(server.url).overview()
        assert (len(server.asked), other.asked) == (1, [])


def test_what_is_not_found_is_no_refused_login() -> None:
    with answering(404, '{"error": "Object Not Found"}') as server, pytest.raises(Unreachable) as raised:
        api(server.url).queues()
    assert str(raised.value) == (
        f"the management API at {server.url} has no /api/queues/v (HTTP 404). Check that virtual host v is there, "
        "and broker.management_url: what the broker has as management.path_prefix belongs to it."
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_names_the_user_and_the_two_cures(status: int) -> None:
    with answering(status) as server, pytest.raises(AccessRefused) as raised:
        api(server.url).overview()
    assert str(raised.value) == (
        f"the management API at {server.url} refused user u (HTTP {status}). Give it the tag `management`, or set "
        "broker.management_user and management_password."
    )
