"""The broker, vhost and installation of the integration tests, and a socket that speaks AMQP without pika."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import broker, caller, install, installation, settings, vhost
from tests.support.hostile_socket import Socket
from tests.support.hostile_users import PASSWORD, RIGHTS, Users
from tests.support.installation import Install
from tests.support.steering import CONTROL
from tests.support.vhost import Vhost

__all__ = ["broker", "caller", "declared", "install", "installation", "raw", "settings", "users", "vhost"]


@pytest.fixture
def raw(vhost: Vhost) -> Iterator[Socket]:
    """A publisher that nothing stands between and the broker."""
    with Socket(vhost) as socket:
        yield socket


@pytest.fixture
def users(install: Install) -> Iterator[Users]:
    """The users; nothing is declared yet."""
    installation = install(mailboxes=["box"], control=CONTROL)
    users, management = Users(installation), installation.vhost.broker.management
    for user, rights in RIGHTS.items():
        management.add_user(users.name(user), PASSWORD, installation.vhost.name, rights)
    yield users
    for user in RIGHTS:
        management.remove_user(users.name(user))


@pytest.fixture
def declared(users: Users) -> Users:
    """The users, on a topology with a mailbox."""
    users.installation.declare()
    return users
