"""RabbitMQ's management API, as far as tests need it: they make and remove, where commands only look."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from broker import management
from glassrabbit_testing.waiting import eventually

#: Of one answer, and of the end of what is asked again: under load a vhost with many queues takes long to delete.
_ANSWER_S, _PATIENCE_S = 60.0, 180.0


class ManagementError(Exception):
    """The API answered with something other than success."""


@dataclass(frozen=True)
class Management:
    """The API of one broker. Numbers of messages lag up to 5 s behind; what exists does not."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    #: What comes before ``/api``.
    prefix: str = ""

    @classmethod
    def at(cls, known: management.Management) -> Management:
        """The API that the commands of an installation ask."""
        url = urlsplit(known.base_url)
        port = url.port or (443 if known.tls else 80)
        return cls(url.hostname or "", port, known.username, known.password, known.tls, url.path)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def request(self, method: str, *path: str, body: object = None, within_s: float = _ANSWER_S) -> Any:
        """Call ``/api/PATH/…``; each part is quoted, so a vhost may be named ``/``. None for an empty answer."""
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        link = (
            http.client.HTTPConnection(self.host, self.port, timeout=within_s)
            if self.tls is None
            else http.client.HTTPSConnection(self.host, self.port, timeout=within_s, context=self.tls)
        )
        try:
            link.request(
                method,
                f"{self.prefix}/api/" + "/".join(quote(part, safe="") for part in path),
                None if body is None else json.dumps(body),
                {"Authorization": f"Basic {login}", "Content-Type": "application/json"},
            )
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        if answer.status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise ManagementError(f"{method} {'/'.join(path)}: {answer.status} {text[:200]!r}")
        return json.loads(text) if text else None

    def get(self, *path: str) -> Any:
        return self.request("GET", *path)

    def answers(self) -> bool:
        """Whether it is up: it refuses, then answers 500, for a second or two after AMQP is there."""
        try:
            self.request("GET", "overview", within_s=5)
        except (OSError, http.client.HTTPException, ManagementError):
            return False
        return True

    def version(self) -> str:
        return str(self.get("overview")["rabbitmq_version"])

    def add_vhost(self, name: str) -> None:
        self.request("PUT", "vhosts", name, body={})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.request("PUT", "permissions", name, self.user, body=everything)

    def remove_vhost(self, name: str) -> None:
        """Until it is gone: one that is not answered in time may have been heard."""

        def is_gone() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException, ManagementError):
                self.request("DELETE", "vhosts", name)
            return name not in [vhost["name"] for vhost in self.get("vhosts")]

        eventually(is_gone, f"the end of vhost {name}", _PATIENCE_S)

    def add_user(self, name: str, password: str, vhost: str, permissions: dict[str, str]) -> None:
        """A user of one vhost; ``permissions`` has configure, write and read."""
        self.request("PUT", "users", name, body={"password": password, "tags": ""})
        self.request("PUT", "permissions", vhost, name, body=permissions)

    def remove_user(self, name: str) -> None:
        self.request("DELETE", "users", name)

    def connections(self, vhost: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("vhosts", vhost, "connections")
        return found

    def queue(self, vhost: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("queues", vhost, name)
        return found
