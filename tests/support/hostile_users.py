"""The users of the design, each with the rights that it needs: one declares, one asks, one works, one steers."""

from __future__ import annotations

from dataclasses import dataclass

from broker.config import loader as config
from broker.config.settings import Settings
from tests.support.installation import Installation

PASSWORD = "s3cret"
RIGHTS = {
    "admin": {"configure": ".*", "write": ".*", "read": ".*"},
    "dispatcher": {
        "configure": "^$",
        "write": r"^(tasks|tasks\.delay\..*)$",
        "read": r"^mailbox\.box$",
    },
    "worker": {
        "configure": "^$",
        "write": r"^(tasks\.delay\..*|tasks\.dead|replies|amq\.default|control\.markers)$",
        "read": r"^(queue_a|tasks\.obituaries|tasks\.control)$",
    },
    "operator": {
        "configure": "^$",
        "write": r"^(control|control\.markers|amq\.default)$",
        "read": r"^(tasks\.control|tasks\.obituaries|queue_[ab])$",
    },
}
#: Of a worker that is not steered.
UNSTEERED = {
    **RIGHTS["worker"],
    "write": r"^(tasks\.delay\..*|tasks\.dead|replies|amq\.default)$",
    "read": r"^(queue_a|tasks\.obituaries)$",
}


@dataclass(frozen=True)
class Users:
    """The users of one vhost."""

    installation: Installation

    def url(self, user: str) -> str:
        vhost = self.installation.vhost
        return f"amqp://{self.name(user)}:{PASSWORD}@{vhost.broker.host}:{vhost.broker.port}/{vhost.name}"

    def name(self, user: str) -> str:
        return f"{user}-{self.installation.vhost.name}"

    def environment(self, user: str) -> dict[str, str]:
        return {**self.installation.environment, "BROKER_URL": self.url(user)}

    def settings(self, user: str) -> Settings:
        return config.load(None, self.environment(user))
