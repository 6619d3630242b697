"""A worker and a broker that is not there, falls silent or refuses: it comes back, and says each thing once."""

from __future__ import annotations

from tests.support.installation import Install, Installation
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

#: A worker has two: one consumes, the other publishes.
LINKS = 2


def url_at(installation: Installation, port: int) -> str:
    vhost = installation.vhost
    return vhost.url.replace(f":{vhost.broker.port}/", f":{port}/")


def test_a_worker_connects_to_a_broker_that_comes_after_it(installation: Installation) -> None:
    broker = installation.vhost.broker
    with Proxy(broker.host, broker.port) as proxy:
        proxy.welcome("refuse")
        worker = installation.worker(ready=False, BROKER_URL=url_at(installation, proxy.port))
        worker.wait_for("link down", count=LINKS)
        assert worker.lines(f":***@127.0.0.1:{proxy.port}/")
        proxy.welcome("pass")
        worker.wait_ready()
        worker.wait_for("link up again", count=LINKS)
        assert installation.caller().ask("note").result == 1
        assert (len(worker.lines("link down")), len(worker.lines("link up again"))) == (LINKS, LINKS)


def test_each_incident_is_reported_once_when_it_begins_and_once_when_it_is_over(
    installation: Installation,
) -> None:
    broker, caller = installation.vhost.broker, installation.caller()
    with Proxy(broker.host, broker.port) as proxy:
        worker = installation.worker(BROKER_URL=url_at(installation, proxy.port))
        for incident in (1, 2):
            proxy.welcome("refuse")
            proxy.reset()
            worker.wait_for("cannot be reached", count=incident * LINKS)
            proxy.welcome("pass")
            worker.wait_for("link up again", count=incident * LINKS)
            assert caller.ask("note").result == 1
        assert len(worker.lines("link up again")) == 2 * LINKS
        assert len(worker.lines("link down")) == 2 * LINKS, worker.log


def test_a_broker_that_takes_connections_and_never_answers_is_reported_once_and_tried_again(
    install: Install,
) -> None:
    installation = install(broker={"connect_timeout_s": 0.3})
    broker = installation.vhost.broker
    with Proxy(broker.host, broker.port) as proxy:
        proxy.welcome("hang")
        worker = installation.worker(ready=False, BROKER_URL=url_at(installation, proxy.port))
        eventually(lambda: proxy.accepted >= 4 * LINKS, "four attempts of each link", 30)
        assert len(worker.lines("took the connection and did not answer")) == LINKS
        assert len(worker.lines("link down")) == LINKS
        proxy.welcome("pass")
        worker.wait_ready()


def test_a_refused_login_is_reported_once_while_it_is_tried_again(installation: Installation) -> None:
    broker = installation.vhost.broker
    with Proxy(broker.host, broker.port) as proxy:
        url = url_at(installation, proxy.port).replace(f":{broker.password}@", ":wrong-Pa55@")
        worker = installation.worker(ready=False, BROKER_URL=url)
        eventually(lambda: proxy.accepted >= 3 * LINKS, "three attempts of each link", 30)
        assert len(worker.lines("refused the login. Check user and password")) == LINKS
        assert len(worker.lines("link down")) == LINKS
        assert "wrong-Pa55" not in worker.log
        worker.sigterm()
        assert worker.wait() == 0
