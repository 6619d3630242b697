"""What a lesson needs besides plain pika: connections that are recorded, an end of one, and numbered claims.

Whatever declares, publishes, consumes or settles stands in the lesson itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker

from broker.config.endpoint import parse_endpoint
from broker.wire.frames import Frame
from broker.wire.proxy import Proxy
from tests.lessons.recording import Recording
from tests.support.cluster import Cluster
from tests.support.management import ManagementError
from tests.support.vhost import Vhost

T = TypeVar("T")

#: Whose lane is what happens to the broker itself.
BROKER = "broker"

_LOOPBACK = "127.0.0.1"
_CALL_S = 20.0
_POLL_S = 0.02
#: RabbitMQ itself may lose a quorum queue that is killed within a second of its declaration.
_SETTLED_S = 3.0


class Broken(AssertionError):
    """A claim does not hold."""

    def __init__(self, number: int, question: str, expected: object, saw: object) -> None:
        super().__init__(f"claim {number}, {question} Expected {expected!r}, saw {saw!r}")
        self.number = number


class ByVersion(dict[str, object]):
    """An answer for each RabbitMQ version from which on it holds: ``ByVersion({"3.10": 4, "4.3": "never"})``."""

    def at(self, version: str) -> object:
        """The answer of the newest version that is not newer than this one."""
        known = [name for name in self if version_numbers(name) <= version_numbers(version)]
        return self[max(known, key=version_numbers)]


def version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


@dataclass(frozen=True)
class Claim:
    """A question of the experiment and what came back."""

    number: int
    question: str
    answer: object


@dataclass(frozen=True)
class Mutant:
    """The one line of the experiment whose change must break a claim."""

    line: str
    instead: str
    breaks: int


class Lesson:
    """One run of a lesson in a vhost of its own. Each client has a connection of its own, which is recorded."""

    def __init__(self, vhost: Vhost, listen: Callable[[Claim], None] = lambda claim: None) -> None:
        """``listen`` is called with each claim when what was seen is known, and before it is judged."""
        self.vhost = vhost
        self.recording = Recording()
        self.claims: list[Claim] = []
        self._listen = listen
        self._lines = _Lines(vhost, self.recording)
        self._channels: dict[str, BlockingChannel] = {}
        #: The number of each client's node.
        self._nodes: dict[str, int] = {}
        #: Clients of which the broker reads nothing at present.
        self._unread: set[str] = set()
        #: What ``close`` has to undo on the node.
        self._undo = contextlib.ExitStack()

    @property
    def version(self) -> str:
        return self.vhost.broker.version

    def channel(
        self, client: str, *, confirms: bool = False, heartbeat_s: int = 0, node: int = 1
    ) -> BlockingChannel:
        """A channel on a new connection of the client of this name; ``confirms``: in confirm mode.
        ``heartbeat_s`` of 0: neither side expects heartbeats. ``node`` is a number, from 1 on, in a cluster."""
        parameters = pika.ConnectionParameters(
            _LOOPBACK,
            self._lines.open(client, node),
            self.vhost.name,
            pika.PlainCredentials(self.vhost.broker.user, self.vhost.broker.password),
            heartbeat=heartbeat_s,
            blocked_connection_timeout=_CALL_S,
        )
        connection = BlockingConnection(parameters)
        connection.add_on_connection_blocked_callback(lambda *_: self._unread.add(client))
        connection.add_on_connection_unblocked_callback(lambda *_: self._unread.discard(client))
        channel = self._channels[client] = connection.channel()
        self._nodes[client] = node
        if confirms:
            channel.confirm_delivery()
        return channel

    def kill(self, client: str) -> None:
        """The client ends as a killed process does: its connection is gone without a word."""
        self._sync(client)
        self.recording.happened(client, "is killed")
        self._lines.cut(client)
        _end(self._channels.pop(client))

    def silence(self, client: str) -> None:
        """From now on the network passes nothing on between this client and the broker, and ends nothing."""
        self._sync(client)
        self.recording.happened(client, "is cut off: nothing arrives any more, and nobody is told")
        self._lines.silence(client)
        self._unread.add(client)

    def restart_broker(self) -> None:
        """The broker is killed, as by a power cut, and starts again on its data; every connection is gone."""
        for client in self._channels:
            self._sync(client)
        self.wait(lambda: False, within_s=_SETTLED_S)
        self.recording.happened(BROKER, "is killed, and starts again")
        self.vhost.broker.restart()
        for client in list(self._channels):
            _end(self._channels.pop(client))

    def lose_node(self, number: int) -> None:
        """A node of the cluster is killed, as by a power cut, with the connections to it."""
        assert isinstance(self.vhost.broker, Cluster)
        for client in self._channels:
            self._sync(client)
        self.wait(lambda: False, within_s=_SETTLED_S)
        self.recording.happened(BROKER, f"loses node {number}")
        self.vhost.broker.members[number - 1].kill()
        for client in [one for one in self._channels if self._nodes[one] == number]:
            _end(self._channels.pop(client))

    def alarm(self) -> None:
        """The broker has less memory than it wants, until ``all_clear``."""
        self.recording.happened(BROKER, "has a memory alarm")
        self._undo.enter_context(self.vhost.broker.alarm())

    def all_clear(self) -> None:
        """Undo ``alarm``, ``configure`` or ``stop_leader``."""
        self._undo.close()
        self.recording.happened(BROKER, "is as it was before")

    def configure(self, **settings: int) -> None:
        """Settings of the node, as in its ``advanced.config`` under ``rabbit``, until the end of the lesson."""
        old = "{K, application:get_env(rabbit, K, undefined)}"
        before = self._eval(f"[{old} || K <- [{', '.join(settings)}]].")
        self._set_all("[" + ", ".join(f"{{{name}, {value}}}" for name, value in settings.items()) + "]")
        self._undo.callback(self._set_all, before)

    def takes_policy(self, pattern: str, definition: dict[str, int]) -> bool:
        """Set a policy for quorum queues; whether the broker knows its keys."""
        policy = {"pattern": pattern, "definition": definition, "apply-to": "quorum_queues"}
        try:
            self.vhost.broker.management.request("PUT", "policies", self.vhost.name, "lesson", body=policy)
        except ManagementError:
            return False
        return True

    def stop_leader(self, queue: str) -> None:
        """A quorum queue loses its only member, until ``all_clear``."""
        member = f"quorum_queues, {{'{self.vhost.name}_{queue}', node()}}"
        self.recording.happened(BROKER, f"has no leader of {queue}")
        self._undo.callback(self._eval, f"ra:restart_server({member}).")
        self._eval(f"ra:stop_server({member}).")

    def _set_all(self, pairs: str) -> None:
        self._eval(f"[application:set_env(rabbit, K, V) || {{K, V}} <- {pairs}].")

    def _eval(self, erlang: str) -> str:
        return self.vhost.broker.ctl("eval", erlang).strip()

    def wait(self, condition: Callable[[], bool], *channels: BlockingChannel, within_s: float = 15.0) -> bool:
        """Until ``condition`` holds or the time is over, and which; meanwhile these channels take what comes.

        A time that is over fails nothing: the claim that follows says what is wrong.
        """
        deadline = time.monotonic() + within_s
        while not (holds := condition()) and time.monotonic() < deadline:
            for channel in channels:
                channel.connection.process_data_events(0)
            time.sleep(_POLL_S)
        return holds

    def ready(self, queue: str) -> int:
        """Messages that wait in ``queue``, those unacked not counted; asked beside the recording."""
        return self.vhost.ready(queue)

    def total(self, queue: str) -> int | None:
        """Messages that a queue keeps for any reason; the management API hears of them seconds later."""
        found = self.vhost.broker.management.queue(self.vhost.name, queue).get("messages")
        return int(found) if found is not None else None

    def heard(self, client: str) -> list[str]:
        """The methods that the broker has sent to this client since the last claim."""
        return self._methods(client, by_client=False)

    def is_blocked(self, client: str) -> bool:
        """Whether the broker has sent it ``connection.blocked``, and no ``connection.unblocked`` since."""
        return client in self._unread

    def said(self, client: str) -> list[str]:
        """The methods that this client has sent since the last claim."""
        return self._methods(client, by_client=True)

    def _methods(self, client: str, *, by_client: bool) -> list[str]:
        self._sync(client)
        step = self.recording.step
        of_client = [one for one in self.recording.events() if one.client == client and one.step == step]
        return [event.method for event in of_client if event.method and event.by_client is by_client]

    def claim(self, number: int, question: str, saw: object, expected: object) -> None:
        """Raise ``Broken`` unless what was seen is what was expected, at this version if it depends on that."""
        answer = expected.at(self.version) if isinstance(expected, ByVersion) else expected
        for client in self._channels:
            self._sync(client)
        claim = Claim(number, question, saw)
        self._listen(claim)
        self.claims.append(claim)
        self.recording.step += 1
        if saw != answer:
            raise Broken(number, question, answer, saw)

    def _sync(self, client: str) -> None:
        """Until what the client sent has passed: an ack, say, has no answer that it could have waited for."""
        with contextlib.suppress(AMQPError):
            if (channel := self._channels[client]).is_open and client not in self._unread:
                channel.connection.channel().close()
        self._lines.sync()

    def close(self) -> None:
        """End what is open, unrecorded."""
        self._lines.record = False
        self._undo.close()
        self._lines.close()
        for channel in self._channels.values():
            _end(channel)


def refusal(action: Callable[[], object]) -> str:
    """Code and text with which the broker closes a channel or a connection over ``action``; else "none"."""
    try:
        action()
    except (ChannelClosedByBroker, ConnectionClosedByBroker) as error:
        return f"{error.reply_code} {error.reply_text}"
    return "none"


def _end(channel: BlockingChannel) -> None:
    with contextlib.suppress(AMQPError):
        channel.connection.close()


@contextlib.contextmanager
def lesson_on(vhost: Vhost, listen: Callable[[Claim], None] = lambda claim: None) -> Iterator[Lesson]:
    lesson = Lesson(vhost, listen)
    try:
        yield lesson
    finally:
        lesson.close()


class _Line(Proxy):
    """A proxy that can fall silent."""

    async def __aenter__(self) -> _Line:
        self.passes = asyncio.Event()
        self.passes.set()
        await super().__aenter__()
        return self

    async def _pump(
        self, number: int, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, by_client: bool
    ) -> None:
        await super()._pump(number, _Gate(source, self.passes), target, by_client=by_client)


class _Gate(asyncio.StreamReader):
    """Reads from another reader what may pass."""

    def __init__(self, source: asyncio.StreamReader, passes: asyncio.Event) -> None:
        super().__init__()
        self._from, self._passes = source, passes

    async def read(self, n: int = -1) -> bytes:
        data = await self._from.read(n)
        await self._passes.wait()
        return data


class _Lines:
    """A recording proxy for each client, on a thread of their own: a lesson itself runs on one thread."""

    def __init__(self, vhost: Vhost, recording: Recording) -> None:
        self._endpoints = [parse_endpoint(url) for url in vhost.url.split(",")]
        self._recording = recording
        self.record = True
        self._proxies: dict[str, _Line] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire", daemon=True)
        self._thread.start()

    def open(self, client: str, node: int) -> int:
        """A port of the client's own."""
        if client not in self._proxies:
            line = _Line(self._endpoints[node - 1], None, self._recorder(client), on_problem=print)
            self._proxies[client] = self._call(line.__aenter__())
        return self._proxies[client].port

    def silence(self, client: str) -> None:
        self._proxies[client].passes.clear()

    def cut(self, client: str) -> None:
        self._call(self._proxies.pop(client).__aexit__())
        # A socket is closed at the next turn of the loop.
        self.sync()

    def sync(self) -> None:
        """Until the frame that is being passed on is recorded as well."""
        self._call(asyncio.sleep(0))

    def close(self) -> None:
        for client in list(self._proxies):
            self.cut(client)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _recorder(self, client: str) -> Callable[[Frame, int, bool], None]:
        def record(frame: Frame, _: int, by_client: bool) -> None:
            if self.record:
                self._recording.frame(frame, client, by_client)

        return record

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_S)
