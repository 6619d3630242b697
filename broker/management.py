"""RabbitMQ's management API, as far as topology needs it: what is declared, with every argument and binding.

AMQP cannot list bindings nor tell a queue's arguments. The rabbitmq_management plugin can
(https://www.rabbitmq.com/docs/http-api-reference); it is asked from commands only, never on a task's way.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from broker.errors import AccessRefused, Unreachable
from broker.settings import BrokerSettings
from broker.tls import tls_context, untrusted

TIMEOUT_S = 10.0
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404


@dataclass(frozen=True, slots=True)
class Management:
    """The API of one node, seen as one user, for one vhost."""

    base_url: str
    username: str
    vhost: str
    password: str = field(repr=False)

    #: For an ``https`` URL.
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def of(cls, broker: BrokerSettings) -> Management:
        """At ``broker.management_url``; without it at the first endpoint's host, port 15672 (15671 for TLS).

        Raises ``ConfigError`` if that is https and a file of ``broker.tls`` cannot be used.
        """
        endpoint, url = broker.endpoints[0], broker.management_url
        if url is None:
            host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
            url = f"https://{host}:15671" if endpoint.scheme == "amqps" else f"http://{host}:15672"
        tls = tls_context(broker.tls) if url.startswith("https:") else None
        return cls(url.rstrip("/"), endpoint.username, endpoint.vhost, endpoint.password, tls)

    def exchanges(self) -> list[dict[str, Any]]:
        return self._list("exchanges", "name,type,durable,arguments")

    def queues(self) -> list[dict[str, Any]]:
        return self._list("queues", "name,type,durable,arguments,effective_policy_definition")

    def bindings(self) -> list[dict[str, Any]]:
        return self._list("bindings", None)

    def add_vhost(self, name: str) -> None:
        """Make a vhost; whoever makes it has all permissions on it at once."""
        self._request("PUT", f"/api/vhosts/{urllib.parse.quote(name, safe='')}")

    def remove_vhost(self, name: str) -> None:
        """Remove a vhost with all that is in it."""
        self._request("DELETE", f"/api/vhosts/{urllib.parse.quote(name, safe='')}")

    def _list(self, what: str, columns: str | None) -> list[dict[str, Any]]:
        query = "" if columns is None else "?" + urllib.parse.urlencode({"columns": columns})
        listed = self._request("GET", f"/api/{what}/{urllib.parse.quote(self.vhost, safe='')}{query}")
        assert isinstance(listed, list)
        return listed

    def _request(self, method: str, path: str) -> object:
        """Raises ``Unreachable``, or ``AccessRefused`` if this user has not the tag ``management``."""
        token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        request = urllib.request.Request(  # noqa: S310 - http or https, checked by the settings
            self.base_url + path, method=method, headers={"Authorization": f"Basic {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self.tls) as answer:  # noqa: S310
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code in (_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND):
                raise AccessRefused(
                    f"the management API at {self.base_url} refused user {self.username} (HTTP {error.code}). "
                    "Give it the tag `management`."
                ) from error
            raise Unreachable(f"the management API at {self.base_url} answered HTTP {error.code}.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLError):
                raise untrusted(reason, f"the management API at {self.base_url}") from error
            raise Unreachable(
                f"the management API at {self.base_url} cannot be reached ({reason}). "
                "Enable the plugin rabbitmq_management, or set broker.management_url."
            ) from error
