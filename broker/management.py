"""RabbitMQ's management API, as far as commands need it: what is declared, counted, connected and consumed.

AMQP cannot list bindings, nor show a queue's arguments, what is unacked or who consumes. The rabbitmq_management
plugin can (https://www.rabbitmq.com/docs/http-api-reference); commands ask it, and never what is on a task's way.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any

from broker.config.settings import BrokerSettings
from broker.config.tls import tls_context, untrusted
from broker.errors import AccessRefused, Unreachable
from broker.node.state import detached_management_url

TIMEOUT_S = 10.0
#: A queue emits its numbers every 5 s, and the API collects them every 5 s. What exists is known at once.
STALENESS_S = 10
#: Tags of users who see nodes, and the connections of others.
SEES_ALL = frozenset({"monitoring", "administrator"})
_COUNTS = (
    "name,messages_ready,messages_unacknowledged,messages,messages_dlx,consumers,delivery_limit,members,arguments,"
    "effective_policy_definition,message_stats.ack_details.rate,messages_details.rate"
)
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What the broker's clock showed, in whole seconds, between two looks at ours; all in epoch seconds."""

    before_s: float
    theirs_s: float
    after_s: float


@dataclass(frozen=True, slots=True)
class Management:
    """The API of one node, seen as one user, for one vhost."""

    base_url: str
    username: str
    vhost: str
    password: str = field(repr=False)

    #: For an ``https`` URL.
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    #: Of one request.
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(cls, broker: BrokerSettings, timeout_s: float = TIMEOUT_S) -> Management:
        """At ``broker.management_url``; without it where a detached broker has it, if the first endpoint is one;
        else at that endpoint's host, port 15672 (15671 for TLS). With the login of that endpoint, if the API has
        none of its own.

        Raises ``ConfigError`` if that is https and a file of ``broker.tls`` cannot be used.
        """
        endpoint = broker.endpoints[0]
        username, password = endpoint.username, endpoint.password
        if broker.management_user is not None and broker.management_password is not None:
            username, password = broker.management_user, broker.management_password.get_secret_value()
        url = broker.management_url or detached_management_url(endpoint)
        if url is None:
            host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
            url = f"https://{host}:15671" if endpoint.scheme == "amqps" else f"http://{host}:15672"
        tls = tls_context(broker.tls) if url.startswith("https:") else None
        return cls(url.rstrip("/"), username, endpoint.vhost, password, tls, timeout_s)

    def exchanges(self) -> list[dict[str, Any]]:
        return self._list("exchanges", "name,type,durable,arguments,policy,message_stats.publish_in_details.rate")

    def queues(self) -> list[dict[str, Any]]:
        return self._list("queues", "name,type,durable,arguments,effective_policy_definition")

    def bindings(self) -> list[dict[str, Any]]:
        return self._list("bindings", None)

    def policies(self) -> list[dict[str, Any]]:
        """Those of users; operators' policies are for queues alone, whose effective ones ``queues`` lists."""
        return self._list("policies", None)

    def counts(self) -> list[dict[str, Any]]:
        """Every queue with its messages, consumers, rates and limits; numbers are up to ``STALENESS_S`` old."""
        return self._list("queues", _COUNTS)

    def consumers(self) -> list[dict[str, Any]]:
        """Every consumer, with its tag, queue, prefetch and connection."""
        return self._list("consumers", None)

    def connections(self) -> list[dict[str, Any]]:
        """Connections to the vhost; without the tag ``monitoring`` those of this user alone."""
        return self._dicts(f"/api/vhosts/{self._vhost}/connections")

    def channels(self) -> list[dict[str, Any]]:
        """Channels in the vhost, with what is unacked on each."""
        columns = "connection_details,messages_unacknowledged"
        return self._dicts(f"/api/vhosts/{self._vhost}/channels?columns={columns}")

    def overview(self) -> dict[str, Any]:
        """The node that answers: its version, and whether it collects statistics."""
        return self._dict("/api/overview")

    def nodes(self) -> list[dict[str, Any]]:
        """Nodes with their alarms, memory and disk; wants the tag ``monitoring``."""
        return self._dicts("/api/nodes")

    def feature_flags(self) -> list[dict[str, Any]]:
        """What a cluster may have switched on, and whether it is."""
        return self._dicts("/api/feature-flags")

    def whoami(self) -> tuple[dict[str, Any], Clock | None]:
        """This user and its tags; and the broker's clock, if it answers with one."""
        before_s = time.time()
        listed, headers = self._ask("GET", "/api/whoami")
        after_s = time.time()
        if not isinstance(listed, dict):
            raise self._strange("/api/whoami")
        try:
            theirs_s = parsedate_to_datetime(headers["Date"]).timestamp()
        except (TypeError, ValueError):
            return listed, None
        return listed, Clock(before_s=before_s, theirs_s=theirs_s, after_s=after_s)

    def add_vhost(self, name: str) -> None:
        """Make a vhost; the user who makes it has all permissions on it."""
        self._ask("PUT", f"/api/vhosts/{urllib.parse.quote(name, safe='')}")

    def remove_vhost(self, name: str) -> None:
        """Remove a vhost with all that is in it."""
        self._ask("DELETE", f"/api/vhosts/{urllib.parse.quote(name, safe='')}")

    @property
    def _vhost(self) -> str:
        return urllib.parse.quote(self.vhost, safe="")

    def _list(self, what: str, columns: str | None) -> list[dict[str, Any]]:
        query = "" if columns is None else "?" + urllib.parse.urlencode({"columns": columns})
        return self._dicts(f"/api/{what}/{self._vhost}{query}")

    def _dicts(self, path: str) -> list[dict[str, Any]]:
        listed, _ = self._ask("GET", path)
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise self._strange(path)
        return listed

    def _dict(self, path: str) -> dict[str, Any]:
        listed, _ = self._ask("GET", path)
        if not isinstance(listed, dict):
            raise self._strange(path)
        return listed

    def _strange(self, path: str) -> Unreachable:
        return Unreachable(
            f"what answers at {self.base_url}{path} is not RabbitMQ's management API. Check broker.management_url."
        )

    def _ask(self, method: str, path: str) -> tuple[object, Message]:
        """The answer and its headers. The login goes to ``base_url`` and nowhere else: to no proxy, and to no
        host that the answer leads to.

        Raises ``Unreachable``, or ``AccessRefused`` if this user has not the tag ``management``.
        """
        token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
        request = urllib.request.Request(  # noqa: S310 - http or https, checked by the settings
            self.base_url + path, method=method, headers={"Authorization": f"Basic {token}"}
        )
        try:
            with _opener(self.tls).open(request, timeout=self.timeout_s) as answer:
                return json.loads(answer.read() or "null"), answer.headers
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _NOT_FOUND:
                raise Unreachable(
                    f"the management API at {self.base_url} has no {path.partition('?')[0]} (HTTP 404). Check "
                    f"that virtual host {self.vhost} is there, and broker.management_url: what the broker has as "
                    "management.path_prefix belongs to it."
                ) from error
            if error.code in (_UNAUTHORIZED, _FORBIDDEN):
                raise AccessRefused(
                    f"the management API at {self.base_url} refused user {self.username} (HTTP {error.code}). "
                    "Give it the tag `management`, or set broker.management_user and management_password."
                ) from error
            raise Unreachable(
                f"the management API at {self.base_url} answered HTTP {error.code}. Check broker.management_url."
            ) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLError):
                raise untrusted(reason, f"the management API at {self.base_url}") from error
            raise Unreachable(
                f"the management API at {self.base_url} cannot be reached ({reason}). "
                "Enable the plugin rabbitmq_management, or set broker.management_url."
            ) from error


def _opener(tls: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """Without what ``urlopen`` has for proxies of the environment and for redirects: these end as an HTTPError."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.HTTPHandler() if tls is None else urllib.request.HTTPSHandler(context=tls))
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    opener.add_handler(urllib.request.HTTPDefaultErrorHandler())
    return opener


def tags_of(user: Mapping[str, Any]) -> frozenset[str]:
    """The tags in an answer of ``whoami``: a list, or on old brokers a text."""
    tags = user.get("tags")
    listed = tags.split(",") if isinstance(tags, str) else tags or ()
    return frozenset(str(tag).strip() for tag in listed if tag)
