"""What is unacked, by the frames that passed."""

from __future__ import annotations

import pytest

from broker.wire.frames import Frame
from broker.wire.values import Value
from glassrabbit_testing.traffic import Published, Traffic


class Client:
    """A channel of a client, seen from the middle of its connection."""

    def __init__(self, traffic: Traffic, connection: int = 1) -> None:
        self._traffic, self._connection = traffic, connection

    def says(self, method: str, **fields: Value) -> None:
        self._note(Frame(kind="method", channel=1, method=method, fields=fields), by_client=True)

    def sends(self, size: int, *pieces: bytes, **properties: Value) -> None:
        fields: dict[str, Value] = {"body_size": size, "type": "note", **properties}
        self._note(Frame(kind="header", channel=1, fields=fields), by_client=True)
        for piece in pieces:
            self._note(Frame(kind="body", channel=1, raw=bytes(7) + piece + b"\xce"), by_client=True)

    def hears(self, method: str, **fields: Value) -> None:
        self._note(Frame(kind="method", channel=1, method=method, fields=fields), by_client=False)

    def gets(self, tag: int, name: str = "mail", consumer: str = "c") -> None:
        self.hears("basic.deliver", consumer_tag=consumer, delivery_tag=tag)
        fields: dict[str, Value] = {"body_size": 0, "type": name, "message_id": f"id-{tag}"}
        self._note(Frame(kind="header", channel=1, fields=fields), by_client=False)

    def consumes(self, queue: str, *, no_ack: bool = False) -> None:
        self.says("basic.consume", queue=queue, consumer_tag="", no_ack=no_ack, nowait=False)
        self.hears("basic.consume-ok", consumer_tag="c")

    def ended(self) -> None:
        self._traffic.ended(self._connection)

    def _note(self, frame: Frame, *, by_client: bool) -> None:
        self._traffic.note(frame, self._connection, by_client)


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def client(traffic: Traffic) -> Client:
    client = Client(traffic)
    client.consumes("mail")
    return client


def tags(traffic: Traffic) -> list[str]:
    return [one.id for one in traffic.unacked()]


def test_a_delivery_is_unacked_until_it_is_settled(traffic: Traffic, client: Client) -> None:
    for tag in (1, 2, 3, 4, 5):
        client.gets(tag)
    assert [(one.queue, one.type) for one in traffic.unacked()] == [("mail", "mail")] * 5
    client.says("basic.ack", delivery_tag=2, multiple=False)
    assert tags(traffic) == ["id-1", "id-3", "id-4", "id-5"]
    client.says("basic.nack", delivery_tag=3, multiple=True, requeue=True)
    assert tags(traffic) == ["id-4", "id-5"]
    client.says("basic.reject", delivery_tag=4, requeue=False)
    assert tags(traffic) == ["id-5"]
    client.gets(6)
    client.says("basic.ack", delivery_tag=0, multiple=True)
    assert tags(traffic) == []


def test_what_needs_no_ack_is_never_unacked(traffic: Traffic) -> None:
    client = Client(traffic)
    client.consumes("mail", no_ack=True)
    client.gets(1)
    client.says("basic.get", queue="mail", no_ack=True)
    client.hears("basic.get-ok", delivery_tag=2)
    assert tags(traffic) == []


def test_what_is_got_one_by_one_is_known_by_its_queue(traffic: Traffic, client: Client) -> None:
    client.says("basic.get", queue="nothing", no_ack=False)
    client.hears("basic.get-empty")
    client.says("basic.get", queue="letters", no_ack=False)
    client.hears("basic.get-ok", delivery_tag=1)
    assert [one.queue for one in traffic.unacked()] == ["letters"]


@pytest.mark.parametrize("method", ["channel.open", "channel.close-ok"])
def test_what_a_channel_held_is_nobody_s_after_its_end(traffic: Traffic, client: Client, method: str) -> None:
    client.gets(1)
    client.hears(method)
    assert tags(traffic) == []


def test_a_connection_that_ends_takes_its_deliveries_alone(traffic: Traffic, client: Client) -> None:
    other = Client(traffic, connection=2)
    other.consumes("mail")
    client.gets(1)
    other.gets(2)
    client.ended()
    assert tags(traffic) == ["id-2"]


def test_messages_are_put_together_while_somebody_reads_them(traffic: Traffic, client: Client) -> None:
    def publish(size: int, *pieces: bytes) -> None:
        client.says("basic.publish", exchange="tasks", routing_key="note")
        client.sends(size, *pieces)

    publish(1, b"x")
    traffic.is_read = True
    publish(5, b"hel", b"lo")
    publish(0)
    common = ("tasks", "note")
    assert traffic.published == [
        Published(*common, {"body_size": 5, "type": "note"}, b"hello"),
        Published(*common, {"body_size": 0, "type": "note"}, b""),
    ]


@pytest.mark.parametrize("exchange", ["tasks", "tasks.delay.07"])
def test_a_task_is_on_its_way_until_it_is_delivered_and_again_when_it_is_given_back(
    traffic: Traffic, client: Client, exchange: str
) -> None:
    client.says("basic.publish", exchange=exchange, routing_key="note")
    client.sends(0, message_id="id-1")
    assert traffic.sent == {"id-1"}
    client.gets(1)
    assert traffic.sent == set()
    client.says("basic.nack", delivery_tag=1, multiple=False, requeue=True)
    assert traffic.sent == {"id-1"}
    client.gets(1)
    client.ended()
    assert traffic.sent == {"id-1"}


def test_a_dead_letter_and_a_settled_task_are_on_no_way(traffic: Traffic, client: Client) -> None:
    client.says("basic.publish", exchange="tasks.dead", routing_key="mail")
    client.sends(0, message_id="id-1")
    client.gets(1)
    client.says("basic.ack", delivery_tag=1, multiple=False)
    client.ended()
    assert traffic.sent == set()


def test_only_what_moves_a_message_counts_as_a_move(traffic: Traffic, client: Client) -> None:
    assert traffic.moves == 0
    client.gets(1)
    client.says("basic.ack", delivery_tag=1, multiple=False)
    client.hears("basic.qos-ok")
    assert traffic.moves == 2
