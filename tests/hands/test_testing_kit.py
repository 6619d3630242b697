"""The kit in an empty folder, with the package as somebody installs it: what their tests do, and how they fail."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from glassrabbit_testing.brokers import NotOurs
from glassrabbit_testing.rabbit import NoRabbit, Rabbit
from glassrabbit_testing.vhost import RabbitVhost
from tests.hands.test_names import own_environment
from tests.support.brokers import Broker, Brokers, free_port
from tests.support.wheel import installed

CONFIG = """\
queues: {orders: {}}
defaults: {timeout_s: 0.5, retry: {max_retries: 1, backoff_s: [0.1]}}
tasks:
  orders.pack: {queue: orders, handler: "shop:pack"}
  orders.weigh: {queue: orders, handler: "shop:weigh"}
  orders.wait: {queue: orders, handler: "shop:wait"}
  orders.wait_long: {queue: orders, handler: "shop:wait", timeout_s: 60}
"""
SHOP = """\
import time
from decimal import Decimal

from worker import Reject, Retry, current


def pack(order):
    if order < 0:
        raise Reject("no such order")
    if order == 13 and current().attempt == 1:
        raise Retry("not yet")
    return {"packed": order, "price": Decimal("9.90"), "attempt": current().attempt}


async def weigh(grams):
    return sum(grams)


def wait():
    while True:
        time.sleep(1)
"""
TEN_TESTS = """\
import pytest
from worker import Reject, Retry
def test_result(glass):
    assert glass.perform("orders.pack", order=1) == {"packed": 1, "price": "9.90", "attempt": 1}
def test_coroutine(glass):
    assert glass.perform("orders.weigh", grams=(1, 2)) == 3
def test_rejected(glass):
    pytest.raises(Reject, glass.perform, "orders.pack", order=-1)
def test_tried_again(glass):
    pytest.raises(Retry, glass.perform, "orders.pack", order=13)
def test_second_attempt(glass):
    assert glass.perform("orders.pack", 2, order=13)["attempt"] == 2
def test_wrong_arguments(glass):
    pytest.raises(TypeError, glass.perform, "orders.pack", number=1)
def test_worker(glass):
    assert glass.worker("orders") and glass.dispatcher.call("orders.weigh", {"grams": [1, 2]}) == 3
def test_worker_in_this_process(glass, monkeypatch):
    assert glass.worker(here=True) and glass.dispatcher.call("orders.pack", {"order": 13})["attempt"] == 2
def test_drained(glass):
    assert glass.worker() and glass.dispatcher.submit("orders.pack", {"order": 13}) and glass.drain() is None
def test_dead(glass):
    assert glass.worker() and glass.dispatcher.submit("orders.pack", {"order": -1}) and glass.drain() is None
    assert [letter.reason.text for letter in glass.letters("orders")] == ["no such order"]
"""

#: Runs pytest on a file of this text in the folder; what it prints.
Run = Callable[..., str]


@pytest.fixture
def run(bin_of: Path, broker: Broker, tmp_path: Path) -> Run:
    return project(bin_of, tmp_path, broker.name)


def project(bin_of: Path, folder: Path, brokers: str) -> Run:
    """Its three files in a folder, and the way to run its tests."""
    (folder / "config.yml").write_text(CONFIG)
    (folder / "shop.py").write_text(SHOP)

    def run(tests: str, *words: str) -> str:
        (folder / "test_shop.py").write_text(tests)
        command = [str(bin_of / "python"), "-m", "pytest", "-p", "no:cacheprovider", "-W", "error"]
        done = subprocess.run(
            [*command, "--rabbit", brokers, *words],
            cwd=folder,
            env=own_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout + done.stderr

    return run


def test_ten_tests_of_handlers_take_25_lines_and_no_set_up(run: Run) -> None:
    assert len(TEN_TESTS.splitlines()) <= 25
    assert "10 passed" in run(TEN_TESTS)


@pytest.mark.long
@pytest.mark.containers
@pytest.mark.timeout(600)
def test_a_plain_pip_install_with_the_extra_is_enough_for_them_on_all_three_versions(
    archives: tuple[Path, Path], tmp_path: Path
) -> None:
    wheel = Path(f"{archives[1]}[testing]")
    bin_of = installed(wheel, tmp_path / "environment", borrow=False)
    (empty := tmp_path / "empty").mkdir()
    assert "30 passed" in project(bin_of, empty, "3.10,4.0,4.3")(TEN_TESTS)


def test_a_test_that_asks_for_no_fixture_finds_nothing_imported_or_started(run: Run) -> None:
    printed = run(
        "import sys\n"
        "def test_nothing():\n"
        "    assert 'glassrabbit_testing.plugin' in sys.modules\n"
        "    assert not {'broker', 'worker', 'dispatcher', 'pika'} & set(sys.modules)\n"
    )
    assert "1 passed" in printed, printed


def test_a_version_that_is_none_is_named_with_those_that_are(run: Run) -> None:
    printed = run("def test_nothing(rabbit): pass\n", "--rabbit", "4.0,9.9")
    assert "--rabbit takes 3.10, 4.0, 4.3, local, not 9.9" in printed


def test_what_hangs_is_left_or_does_not_drain_fails_its_test_by_name(run: Run) -> None:
    printed = run(
        "import time\n"
        "def test_hangs(glass):\n"
        "    glass.perform('orders.wait')\n"
        "def test_leaves_a_letter(glass):\n"
        "    glass.worker()\n"
        "    glass.dispatcher.submit('orders.pack', {'order': -1})\n"
        "    glass.drain()\n"
        "def test_does_not_drain(glass):\n"
        "    glass.dispatcher.submit('orders.pack', {'order': 1})\n"
        "    glass.dispatcher.submit('orders.pack', {'order': 1}, delay_s=60)\n"
        "    glass.drain(0.5)\n"
        "def test_leaves_a_task(glass):\n"
        "    glass.worker()\n"
        "    glass.dispatcher.submit('orders.wait_long')\n"
        "    while not glass.vhost.unacked:\n"
        "        time.sleep(0.01)\n"
    )
    assert re.search(r"Hangs: orders.wait \(shop:wait\) is not done after its timeout_s of 0.5 s", printed), (
        printed
    )
    assert re.search(r"shop.py\", line 21, in wait", printed), printed
    assert "ERROR at teardown of test_leaves_a_letter" in printed
    assert re.search(r"dead in orders.dead: orders.pack [0-9a-f]{32}: rejected, no such order", printed), printed
    assert "not drained after 0.5 s" in printed
    assert re.search(r"tasks\.delay\.\d\d +1 +0 +0\n", printed), printed
    assert re.search(r"orders +1 +0 +0\n", printed), printed
    assert "ERROR at teardown of test_leaves_a_task" in printed
    assert re.search(r"unacked in orders: orders.wait_long [0-9a-f]{32}", printed), printed
    assert "2 failed, 2 passed, 2 errors" in printed


def test_workers_of_xdist_share_one_broker_and_have_their_own_virtual_hosts(run: Run, tmp_path: Path) -> None:
    printed = run(
        "import os, pathlib, time, pika, pytest\n"
        "@pytest.mark.parametrize('number', range(4))\n"
        "def test_place(rabbit, rabbit_vhost, number):\n"
        "    pika.BlockingConnection(pika.URLParameters(rabbit_vhost.url)).close()\n"
        "    worker = os.environ['PYTEST_XDIST_WORKER']\n"
        "    port = rabbit.broker.endpoint.port\n"
        "    pathlib.Path(f'place-{number}').write_text(f'{worker} {port} {rabbit_vhost.name}')\n"
        "    deadline = time.monotonic() + 60\n"
        "    while len(list(pathlib.Path().glob('place-*'))) < 4 and time.monotonic() < deadline:\n"
        "        time.sleep(0.02)\n",
        "-n", "4",
    )  # fmt: skip
    assert "4 passed" in printed, printed
    workers, ports, vhosts = zip(*(file.read_text().split() for file in tmp_path.glob("place-*")), strict=True)
    assert (len(set(workers)), len(set(ports)), len(set(vhosts))) == (4, 1, 4)


@pytest.mark.alone
def test_a_virtual_host_takes_at_most_twice_as_long_as_the_bare_calls_for_it(
    broker: Broker, brokers: Brokers
) -> None:
    def bare(rabbit: Rabbit) -> None:
        api = rabbit.broker.management
        api.request("PUT", "vhosts", "bare", body={})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        api.request("PUT", "permissions", "bare", api.user, body=everything)
        api.request("DELETE", "vhosts", "bare")

    def ours(rabbit: Rabbit) -> None:
        with RabbitVhost(rabbit) as vhost:
            assert vhost.url

    took_s: dict[Callable[[Rabbit], None], list[float]] = {bare: [], ours: []}
    rabbit = Rabbit(brokers, broker.name)
    for _ in range(21):
        for way, times in took_s.items():
            started_s = time.perf_counter()
            way(rabbit)
            times.append(time.perf_counter() - started_s)
    assert not [vhost for vhost in rabbit.broker.management.get("vhosts") if vhost["name"] == "bare"]
    assert median(took_s[ours]) <= 2 * median(took_s[bare])


def test_a_virtual_host_is_made_when_it_is_used_and_gone_afterwards(broker: Broker, brokers: Brokers) -> None:
    def names() -> list[str]:
        return [vhost["name"] for vhost in broker.management.get("vhosts")]

    with RabbitVhost(Rabbit(brokers, broker.name)) as vhost:
        assert vhost.name not in names()
        assert vhost.url.endswith(vhost.name)
        assert vhost.name in names()
    assert vhost.name not in names()


def test_faults_of_a_broker_that_others_use_are_an_error_that_says_what_to_do(
    broker: Broker, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    rabbit = Rabbit(brokers, broker.name)
    for fault in (rabbit.restart, rabbit.freeze, rabbit.alarm):
        with pytest.raises(NotOurs, match=r"pytest\.mark\.own_rabbit"):
            fault()
    monkeypatch.setenv("BROKER_URL", broker.url())
    with pytest.raises(NoRabbit, match="--rabbit-faults"):
        Rabbit(brokers, alone=True).restart()


@pytest.mark.long
def test_with_rabbit_faults_they_act_on_a_second_broker(
    broker: Broker, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", broker.url())
    second = Rabbit(brokers, alone=True, faults=True)
    second.restart()
    assert second.broker.endpoint.port != broker.port


def test_the_broker_of_broker_url_is_used_as_it_is(
    broker: Broker, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", broker.url())
    monkeypatch.setenv("GLASSRABBIT__BROKER__MANAGEMENT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NoRabbit, match="cannot be asked"):
        assert Rabbit(brokers).version
    monkeypatch.setenv("GLASSRABBIT__BROKER__MANAGEMENT_URL", broker.management.url)
    with RabbitVhost(Rabbit(brokers)) as vhost:
        assert vhost.rabbit.broker.endpoint.port == broker.port
        assert vhost.url.endswith(vhost.name)
        assert vhost.name in [one["name"] for one in broker.management.get("vhosts")]
