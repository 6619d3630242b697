"""Every message that is sent has one end, and only one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pika import frame, spec

from broker.amqp.pika_connection import PikaConnection
from broker.amqp.publisher import Message, Publisher
from broker.errors import ConfirmLost, ConnectionLost, PublishError, Refused, Unroutable
from protocol.properties import Properties
from tests.support.differential import Twin, method


@dataclass
class Sender:
    """A publisher on a channel whose broker is the test."""

    twin: Twin
    publisher: Publisher
    #: What each message ended with, by the number that it was given here, from 1.
    ends: list[tuple[int, str]] = field(default_factory=list)
    sent: int = 0

    def send(self, message: Message | None = None) -> None:
        self.sent += 1
        number = self.sent

        def on_end(error: PublishError | None) -> None:
            self.ends.append((number, "accepted" if error is None else type(error).__name__))

        self.publisher.send(message or to("task_a"), on_end)

    def confirm(self, tag: int, *, multiple: bool = False, nack: bool = False) -> None:
        made = spec.Basic.Nack(tag, multiple, False) if nack else spec.Basic.Ack(tag, multiple)
        self.twin.feed(method(1, made))

    def give_back(self, message: Message) -> None:
        returned = spec.Basic.Return(312, "NO_ROUTE", message.exchange, message.routing_key)
        properties = spec.BasicProperties(message_id=message.properties.message_id)
        self.twin.feed(method(1, returned) + frame.Header(1, 0, properties).marshal())

    def lose(self) -> None:
        self.publisher.channel.end(ConnectionLost("the network is gone", 320))


def to(key: str, message_id: str = "x") -> Message:
    return Message(exchange="tasks", routing_key=key, body=b"", properties=Properties(message_id=message_id))


def sending(act: Callable[[Sender], Awaitable[None]]) -> list[tuple[int, str]]:
    async def run() -> list[tuple[int, str]]:
        twin = Twin(PikaConnection)
        await twin.open()
        publisher = Publisher(twin.channels[1])
        selecting = asyncio.ensure_future(
            publisher.channel.confirm_select(publisher._on_confirm, publisher._on_return)
        )
        await twin.settle()
        twin.feed(method(1, spec.Confirm.SelectOk()))
        await selecting
        sender = Sender(twin, publisher)
        await act(sender)
        await twin.settle()
        return sender.ends

    return asyncio.run(run())


def test_confirms_end_what_they_name_and_multiple_ones_all_before_it() -> None:
    async def act(sender: Sender) -> None:
        for _ in range(7):
            sender.send()
        sender.confirm(2)
        sender.confirm(2)
        sender.confirm(4, multiple=True)
        sender.confirm(6, multiple=True, nack=True)
        assert sender.publisher.unconfirmed == 1

    ends = [(2, "accepted"), (1, "accepted"), (3, "accepted"), (4, "accepted"), (5, "Refused"), (6, "Refused")]
    assert sending(act) == ends


def test_of_messages_that_are_alike_the_oldest_is_the_one_that_was_returned() -> None:
    async def act(sender: Sender) -> None:
        sender.send(to("lost"))
        sender.send(to("lost", "y"))
        sender.send(to("lost"))
        sender.send(to("found"))
        sender.give_back(to("lost"))
        sender.give_back(to("lost"))
        sender.give_back(to("found", "y"))
        sender.confirm(1)
        sender.confirm(4, multiple=True)

    assert sending(act) == [(1, "Unroutable"), (2, "accepted"), (3, "Unroutable"), (4, "accepted")]


def test_what_waits_when_the_channel_ends_is_lost_and_what_comes_after_is_not_sent() -> None:
    seen: list[PublishError | None] = []

    async def act(sender: Sender) -> None:
        sender.publisher.send(to("before"), seen.append)
        sender.lose()
        sender.publisher.send(to("after"), seen.append)
        assert seen == []
        await sender.twin.settle()
        sender.confirm(1)
        assert sender.publisher.unconfirmed == 0

    sending(act)
    lost = [(type(error), error.sent, error.code) for error in seen if isinstance(error, ConfirmLost)]
    assert sorted(lost, key=str) == [(ConfirmLost, False, 320), (ConfirmLost, True, 320)]


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (403, "ACCESS_REFUSED", "MayNotPublish"),
        (404, "NOT_FOUND", "NoExchange"),
        (406, "PRECONDITION_FAILED - message size 2 is larger than configured max size 1", "TooLarge"),
        (406, "PRECONDITION_FAILED - something else", "Unsendable"),
        (320, "CONNECTION_FORCED", "ConfirmLost"),
    ],
)
def test_one_that_was_alone_when_the_channel_ended_is_the_refused_one_and_of_two_nobody_knows(
    code: int, text: str, kind: str
) -> None:
    async def alone(sender: Sender) -> None:
        sender.send()
        sender.confirm(1)
        sender.send()
        sender.publisher.channel.end(ConnectionLost(text, code))

    async def beside_another(sender: Sender) -> None:
        sender.send()
        sender.send()
        sender.publisher.channel.end(ConnectionLost(text, code))

    assert sending(alone) == [(1, "accepted"), (2, kind)]
    assert sending(beside_another) == [(1, "ConfirmLost"), (2, "ConfirmLost")]


def test_what_fits_no_frame_is_refused_here_and_those_beside_it_are_confirmed() -> None:
    async def act(sender: Sender) -> None:
        sender.send()
        sender.send(to("x" * 256))
        sender.send(to("task_a", "\ud800"))
        sender.send()
        assert sender.publisher.unconfirmed == 2
        sender.confirm(2, multiple=True)

    assert sorted(sending(act)) == [(1, "accepted"), (2, "TooLarge"), (3, "Unsendable"), (4, "accepted")]


def test_a_returned_message_says_what_the_broker_put_in_the_place_of_its_reply_address() -> None:
    seen: list[PublishError | None] = []

    async def act(sender: Sender) -> None:
        sender.publisher.send(to("lost"), seen.append)
        returned = spec.Basic.Return(312, "NO_ROUTE", "tasks", "lost")
        properties = spec.BasicProperties(message_id="x", reply_to="an address")
        sender.twin.feed(method(1, returned) + frame.Header(1, 0, properties).marshal())
        sender.confirm(1)

    sending(act)
    assert [error.reply_to for error in seen if isinstance(error, Unroutable)] == ["an address"]


def test_who_hears_of_an_end_may_send_again_at_once() -> None:
    async def act(sender: Sender) -> None:
        again: list[PublishError | None] = []
        sender.publisher.send(to("first"), lambda _end: sender.publisher.send(to("again"), again.append))
        sender.publisher.send(to("second"), lambda _end: None)
        sender.confirm(2, multiple=True)
        assert sender.publisher.unconfirmed == 1
        sender.confirm(3)
        assert again == [None]

    sending(act)


def test_a_future_ends_as_the_callback_would() -> None:
    async def act(sender: Sender) -> None:
        accepted, refused, returned, given_up, lost = [sender.publisher.publish(to(f"{n}")) for n in range(5)]
        given_up.cancel()
        sender.confirm(1)
        sender.confirm(2, nack=True)
        sender.give_back(to("2"))
        sender.confirm(4, multiple=True)
        sender.lose()
        ends = await asyncio.gather(accepted, refused, returned, lost, return_exceptions=True)
        assert [type(end) for end in ends] == [type(None), Refused, Unroutable, ConfirmLost]
        assert given_up.cancelled()

    sending(act)


steps = st.one_of(
    st.just(("send", 0)),
    st.just(("send", 0)),
    st.tuples(st.sampled_from(["ack", "ack_all", "nack", "nack_all"]), st.integers(0, 12)),
)


@given(st.lists(steps, max_size=40), st.booleans())
@settings(deadline=None, max_examples=60)
def test_whatever_is_confirmed_in_whatever_order_each_message_ends_once(
    course: list[tuple[str, int]], is_lost: bool
) -> None:
    open_: list[int] = []
    expected: list[tuple[int, str]] = []
    sent = 0

    async def act(sender: Sender) -> None:
        nonlocal sent
        for step, tag in course:
            if step == "send":
                sent += 1
                open_.append(sent)
                sender.send()
                continue
            covered = [one for one in open_ if one == tag or (one < tag and step.endswith("all"))]
            expected.extend((one, "Refused" if step.startswith("nack") else "accepted") for one in covered)
            for one in covered:
                open_.remove(one)
            sender.confirm(tag, multiple=step.endswith("all"), nack=step.startswith("nack"))
        assert sender.publisher.unconfirmed == len(open_)
        if is_lost:
            sender.lose()
            expected.extend((one, "ConfirmLost") for one in open_)

    assert sending(act) == expected
