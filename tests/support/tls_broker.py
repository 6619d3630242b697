"""A RabbitMQ in a container that speaks TLS beside plain AMQP, and shows whatever certificate a test gives it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.brokers import DEFAULT, ContainerBroker, free_port
from tests.support.certificates import Authority, Pair

#: The one name in the broker's own certificate, which has no address in it.
NAME = "localhost"
_AMQPS, _HTTPS = 5671, 15671
_CONFIGURATION = """\
listeners.ssl.default = 5671
ssl_options.cacertfile = /tls/ca.pem
ssl_options.certfile = /tls/server.pem
ssl_options.keyfile = /tls/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = {asks_for_certificates}
management.tcp.port = 15672
management.ssl.port = 15671
management.ssl.cacertfile = /tls/ca.pem
management.ssl.certfile = /tls/server.pem
management.ssl.keyfile = /tls/server.key
"""


class TlsBroker(ContainerBroker):
    """Its certificates are in ``folder``; ``ca_file`` there is what a client needs to trust it.

    ``port`` and ``management`` are those of the plain listeners, by which tests look after it.
    """

    def __init__(self, folder: Path, authority: Authority, *, asks_for_certificates: bool = False) -> None:
        super().__init__(DEFAULT)
        self.authority = authority
        self.tls_port, self.https_port = free_port(), free_port()
        self._folder = folder
        # The broker's user is not ours, and has to read all of it.
        folder.chmod(0o755)
        self._own = authority.issue(NAME)
        self._put(self._own)
        self.ca_file = authority.write(folder / "ca.pem")
        configuration = folder / "tls.conf"
        configuration.write_text(_CONFIGURATION.format(asks_for_certificates=str(asks_for_certificates).lower()))
        self._container.with_volume_mapping(folder, "/tls")
        self._container.with_volume_mapping(configuration, "/etc/rabbitmq/conf.d/90-tls.conf")
        self._container.ports |= {
            f"{_AMQPS}/tcp": (self.host, self.tls_port),
            f"{_HTTPS}/tcp": (self.host, self.https_port),
        }

    def url(self, vhost: str = "%2F") -> str:
        return f"amqps://{self.user}:{self.password}@{NAME}:{self.tls_port}/{vhost}"

    @property
    def https_url(self) -> str:
        return f"https://{NAME}:{self.https_port}"

    def shows(self, pair: Pair) -> None:
        """Show another certificate to whoever connects from now on."""
        self._put(pair)
        self.ctl("eval", "ssl:clear_pem_cache().")

    @contextlib.contextmanager
    def showing(self, pair: Pair) -> Iterator[None]:
        """The same for a while."""
        self.shows(pair)
        try:
            yield
        finally:
            self.shows(self._own)

    def _put(self, pair: Pair) -> None:
        pair.write(self._folder, key_mode=0o644)
