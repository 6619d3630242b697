from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as run
from hypothesis import strategies as st
from pydantic import ValidationError

from broker.config.breaker_settings import BreakerSettings
from broker.config.consistency import contradictions
from broker.config.endpoint import parse_endpoint
from broker.config.holding import SETTLE_S, goes_back, granted_s, held_s
from broker.config.loader import load
from broker.config.scaling_settings import FallbackSettings, ScalingSettings
from broker.config.settings import (
    BrokerSettings,
    DefaultSettings,
    LimitsSettings,
    QueueSettings,
    RetrySettings,
    Settings,
    TaskSettings,
    WorkerSettings,
    WorkItem,
    effective_prefetch,
)
from broker.config.tls import TlsSettings
from broker.errors import ConfigError
from protocol.delay import LONGEST_S
from protocol.limits import DEFAULT_LIMITS

SHIPPED = Path(__file__).parents[4] / "config.yml"
SECRET = "canary"

ONE_TASK = """\
queues:
  queue_a: {}
tasks:
  task_a:
    queue: queue_a
    handler: "worker.tasks:task_a"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str, **environ: str) -> Settings:
    Path("config.yml").write_text(text, encoding="utf-8")
    return load("config.yml", environ)


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(text, **environ)
    assert str(raised.value) == "\n".join(raised.value.problems)
    for problem in raised.value.problems:
        assert "\n" not in problem
        assert problem.endswith((".", "?"))
        assert "pydantic" not in problem.lower()
        assert "https://" not in problem
    return list(raised.value.problems)


# Where it is read from.


def test_without_a_file_it_is_the_example() -> None:
    settings = load(environ={})
    assert settings == Settings()
    assert settings.path is None
    assert list(settings.queues) == ["queue_a", "queue_b"]
    assert settings.tasks["task_a"] == TaskSettings(queue="queue_a", handler="worker.tasks:task_a")
    assert settings.tasks["task_b"] == TaskSettings(queue="queue_b", handler="worker.tasks:task_b")
    assert settings.workload == (WorkItem(task="task_a"), WorkItem(task="task_b"))
    assert settings.broker.endpoints == (parse_endpoint("amqp://guest:guest@localhost:5672/"),)
    assert contradictions(settings) == []


def test_the_shipped_file_states_every_default() -> None:
    shipped, defaults = load(SHIPPED, {}), Settings()
    for section in (
        "broker",
        "queues",
        "defaults",
        "worker",
        "scaling",
        "workload",
        "mailboxes",
        "replies",
        "limits",
    ):
        assert getattr(shipped, section) == getattr(defaults, section), section
    assert shipped.tasks.items() >= defaults.tasks.items()
    # A person who tries it has to see it steered.
    assert shipped.control == defaults.control.model_copy(update={"enabled": True})


def test_the_shipped_file_names_every_key() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    models = (
        BrokerSettings,
        TlsSettings,
        DefaultSettings,
        RetrySettings,
        QueueSettings,
        WorkerSettings,
        WorkItem,
        LimitsSettings,
        ScalingSettings,
        FallbackSettings,
    )
    names = [field.alias or name for model in models for name, field in model.model_fields.items()]
    assert [name for name in names if f"{name}:" not in text] == []


def test_the_shipped_tasks_are_those_of_the_shipped_handlers() -> None:
    tasks = load(SHIPPED, {}).tasks
    assert {name: (task.queue, task.handler.partition(":")[2]) for name, task in tasks.items()} == {
        "task_a": ("queue_a", "task_a"),
        "task_b": ("queue_b", "task_b"),
        "noop": ("queue_a", "noop"),
        "files.sha256": ("queue_a", "sha256"),
        "text.count_words": ("queue_a", "count_words"),
        "sqlite.query": ("queue_a", "sqlite_query"),
        "http.fetch": ("queue_a", "fetch"),
        "cpu.burn": ("queue_b", "burn"),
    }


def test_the_argument_wins_over_the_variable_and_the_variable_over_the_current_folder(folder: Path) -> None:
    for concurrency, name in enumerate(("config.yml", "b.yml", "c.yml"), start=3):
        Path(name).write_text(f"worker: {{concurrency: {concurrency}}}")
    assert load(environ={}).worker.concurrency == 3
    assert load(environ={}).path == folder / "config.yml"
    assert load(environ={"GLASSRABBIT_CONFIG": ""}).worker.concurrency == 3
    assert load(environ={"GLASSRABBIT_CONFIG": "b.yml"}).worker.concurrency == 4
    assert load("c.yml", {"GLASSRABBIT_CONFIG": "b.yml"}).worker.concurrency == 5
    assert load(folder / "c.yml", {}).path == folder / "c.yml"


def test_a_named_file_that_is_missing_or_unreadable_is_a_problem(folder: Path) -> None:
    for name in ("nowhere.yml", str(folder)):
        for path, environ in ((name, {}), (None, {"GLASSRABBIT_CONFIG": name})):
            with pytest.raises(ConfigError, match=r"cannot be read: .+\. Check the name") as raised:
                load(path, environ)
            assert raised.value.problems[0].startswith(f"{name}: ")


@pytest.mark.parametrize(
    "text", ["", "\n", "# nothing\n", "---\n", "broker:\nworker:\ndefaults: ~\n", "\ufeffworker: {}"]
)
def test_a_file_that_says_nothing_changes_nothing(text: str) -> None:
    assert read(text).model_copy(update={"path": None}) == Settings()


# What it says.


def test_every_key_can_be_set() -> None:
    settings = read(
        """
        broker:
          url: [amqp://u:p@a/v, "amqps://b"]
          heartbeat_s: 10
          connect_timeout_s: 1.5
          confirm_timeout_s: 1e1
          tls: {ca_file: ca.pem, cert_file: /c.pem, key_file: /k.pem}
        queues: {mail: {delivery_limit: 7, prefetch: 9}}
        tasks:
          mail.send: {queue: mail, handler: "my.mail:send", timeout_s: 60, executor: async,
                      retry: {max_retries: 0, backoff_s: [0.1], jitter: 0}}
        worker: {concurrency: 4, grace_s: 0}
        workload: [{task: mail.send, count: 3, arguments: {to: [a, null, 1, 1.5, true, {b: c}]}}]
        mailboxes: [results, 0-b_c]
        replies: mailbox
        limits: {body_bytes: 2048, header_bytes: 8192, depth: 4, nodes: 5, error_text_bytes: 16,
                 history_entries: 2, batch_tasks: 3, ledger_entries: 1, ledger_age_s: 0.5, ledger_bytes: 0}
        """
    )
    assert settings.broker == BrokerSettings(
        url=(parse_endpoint("amqp://u:p@a/v"), parse_endpoint("amqps://b")),
        heartbeat_s=10,
        connect_timeout_s=1.5,
        confirm_timeout_s=10,
        tls={"ca_file": "ca.pem", "cert_file": "/c.pem", "key_file": "/k.pem"},  # type: ignore[arg-type]
    )
    assert settings.queues == {"mail": QueueSettings(delivery_limit=7, prefetch=9)}
    assert settings.tasks == {
        "mail.send": TaskSettings(
            queue="mail",
            handler="my.mail:send",
            timeout_s=60,
            executor="async",
            retry=RetrySettings(max_retries=0, backoff_s=(0.1,), jitter=0),
        )
    }
    assert settings.worker == WorkerSettings(concurrency=4, grace_s=0)
    assert settings.workload == (
        WorkItem(task="mail.send", count=3, arguments={"to": ["a", None, 1, 1.5, True, {"b": "c"}]}),
    )
    assert settings.mailboxes == ("results", "0-b_c")
    assert settings.replies == "mailbox"
    assert settings.limits.messages.depth == 4
    assert settings.limits.ledger_bytes == 0


def test_own_queues_or_tasks_come_without_the_example() -> None:
    own_tasks = read('tasks: {t: {queue: queue_b, handler: "m:f"}}')
    assert (list(own_tasks.queues), list(own_tasks.tasks), own_tasks.workload) == (
        ["queue_a", "queue_b"],
        ["t"],
        (),
    )
    own_queues = read("queues: {q: }")
    assert (list(own_queues.queues), own_queues.tasks, own_queues.workload) == (["q"], {}, ())
    assert read("workload: []").workload == ()
    assert list(read("workload: []").tasks) == ["task_a", "task_b"]


def test_a_task_inherits_what_it_does_not_say_and_retry_key_by_key() -> None:
    settings = read(
        ONE_TASK
        + """\
    retry: {jitter: 0.5, backoff_s: }
  b: {queue: queue_a, handler: "m:f", timeout_s: 1, executor: , retry: }
defaults: {timeout_s: 20, executor: thread, retry: {max_retries: 9, backoff_s: [1]}}
"""
    )
    a, b = settings.tasks["task_a"], settings.tasks["b"]
    assert a.retry == RetrySettings(max_retries=9, backoff_s=(1,), jitter=0.5)
    assert (a.timeout_s, a.executor) == (20, "thread")
    assert b.retry == RetrySettings(max_retries=9, backoff_s=(1,), jitter=0.1)
    assert (b.timeout_s, b.executor) == (1, "thread")


def test_settings_built_in_code_inherit_as_well() -> None:
    settings = Settings(
        queues={"q": QueueSettings()},
        tasks={"t": TaskSettings(queue="q", handler="m:f", retry=RetrySettings(jitter=0))},
        defaults=DefaultSettings(timeout_s=7, retry=RetrySettings(max_retries=1)),
    )
    assert settings.tasks["t"].timeout_s == 7
    assert settings.tasks["t"].retry == RetrySettings(max_retries=1, jitter=0)


@pytest.mark.parametrize("word", ["yes", "on", "2024-01-01", "12:30:45", "0o17", "007", ".inf", ".nan", "=", "<<"])
def test_words_that_old_yaml_takes_for_something_else_stay_text(word: str) -> None:
    arguments = read(f"workload: [{{task: task_a, arguments: {{a: {word}, {word}: b}}}}]").workload[0].arguments
    assert arguments == {"a": word, word: "b"}


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().worker.concurrency = 3


def test_the_default_limits_are_those_of_the_protocol() -> None:
    assert Settings().limits.messages == DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("prefetch", "concurrency", "expected"), [(None, 1, 3), (None, 8, 10), (1, 8, 1), (50, 2, 50)]
)
def test_a_worker_prefetches_a_little_more_than_it_runs(
    prefetch: int | None, concurrency: int, expected: int
) -> None:
    assert (
        effective_prefetch(QueueSettings(prefetch=prefetch), WorkerSettings(concurrency=concurrency)) == expected
    )


# What is wrong with it.

WRONG_VALUES = [
    ("broker: {heartbeat_s: 0}", "1:10: broker.heartbeat_s: 0 is too small. Use 1 or more."),
    ("broker: {heartbeat_s: 3601}", "1:10: broker.heartbeat_s: 3601 is too large. Use 3600 or less."),
    ("broker: {heartbeat_s: 1.0}", "1:10: broker.heartbeat_s: 1.0 is not a whole number. Write digits, without"),
    ("broker: {heartbeat_s: '3'}", "1:10: broker.heartbeat_s: '3' is not a whole number. Write digits, without"),
    ("broker: {heartbeat_s: true}", "1:10: broker.heartbeat_s: true is not a whole number."),
    ("broker: {heartbeat_s: [1]}", "1:10: broker.heartbeat_s: this is not a whole number."),
    ("broker: {connect_timeout_s: fast}", "1:10: broker.connect_timeout_s: 'fast' is not a number."),
    ("broker: {connect_timeout_s: true}", "1:10: broker.connect_timeout_s: true is not a number."),
    ("broker: {connect_timeout_s: 0}", "1:10: broker.connect_timeout_s: 0 is too small. Use 0.1 or more."),
    ("broker: {connect_timeout_s: 1e999}", "1:10: broker.connect_timeout_s: inf is not a finite number."),
    ("broker: {connect_timeout_s: 1e9}", "1:10: broker.connect_timeout_s: 1000000000.0 is too large."),
    ("broker: {confirm_timeout_s: -1}", "1:10: broker.confirm_timeout_s: -1 is too small."),
    ("broker: {url: 5}", "1:10: broker.url: 5 is not a list."),
    ("broker: {url: [5]}", "1:16: broker.url[0]: a URL is text."),
    ("broker: {url: []}", "1:10: broker.url: the list is empty. Give at least one."),
    (
        "broker: {url: h}",
        "1:10: broker.url: this is not a URL. Write it like amqp://user:password@host:5672/vhost.",
    ),
    ("broker: {url: [amqp://h, amqp://]}", "1:26: broker.url[1]: the URL names no host."),
    ("broker: {url: 'amqp://a,amqp://b'}", "1:10: broker.url: "),
    ("broker: {tls: {ca_file: 1}}", "1:16: broker.tls.ca_file: 1 is not a file name. Put quotes around it."),
    ("broker: {tls: {cert_file: a}}", "1:10: broker.tls: cert_file and key_file belong together."),
    ("broker: localhost", "1:1: broker: 'localhost' is not a mapping. Write keys"),
    ("broker: [a]", "1:1: broker: this is not a mapping."),
    ("broker: {endpoints: amqp://h}", "1:10: broker.endpoints: there is no such key. The keys here are url, "),
    ("broker: {heartbeat: 3}", "1:10: broker.heartbeat: there is no such key. Did you mean heartbeat_s?"),
    ("broker: {tls: {cafile: }}", "1:16: broker.tls.cafile: there is no such key. Did you mean ca_file?"),
    ("worker: {concurency: 3}", "1:10: worker.concurency: there is no such key. Did you mean concurrency?"),
    ("worker: {Concurrency: 3}", "1:10: worker.Concurrency: there is no such key. Did you mean concurrency?"),
    ("worker: {zzz: }", "1:10: worker.zzz: there is no such key. The keys here are concurrency, grace_s, "),
    ("worker: {concurrency: 0}", "1:10: worker.concurrency: 0 is too small. Use 1 or more."),
    ("worker: {grace_s: -0.1}", "1:10: worker.grace_s: -0.1 is too small. Use 0.0 or more."),
    ("wroker: ", "1:1: wroker: there is no such key. Did you mean worker?"),
    ("path: /x", "1:1: path: there is no such key."),
    ("<<: {worker: {}}", "1:1: '<<': there is no such key."),
    ("queues: []", "1:1: queues: this is not a mapping."),
    ("queues: {}", "1:1: queues: there is no queue. Add at least one."),
    ("queues: {Queue: {}}", "1:10: queues.Queue: the name 'Queue' does not fit. Write lower-case letters, digits"),
    ("queues: {tasks.x: {}}", "1:10: queues.tasks.x: the name 'tasks.x' does not fit."),
    ("queues: {mailbox.x: {}}", "1:10: queues.mailbox.x: the name 'mailbox.x' does not fit."),
    (f"queues: {{{'q' * 65}: {{}}}}", f"1:10: queues.{'q' * 65}: the name"),
    ('queues: {"q\\n": {}}', "1:10: queues.'q\\n': the name 'q\\n' does not fit."),
    ("queues: {q: {prefetch: 0}}", "1:14: queues.q.prefetch: 0 is too small. Use 1 or more."),
    ("queues: {q: {prefetch: 65536}}", "1:14: queues.q.prefetch: 65536 is too large. Use 65535 or less."),
    ("queues: {q: {delivery_limit: 0}}", "1:14: queues.q.delivery_limit: 0 is too small."),
    ("queues: {q: {delivery_limit: 2147483648}}", "1:14: queues.q.delivery_limit: 2147483648 is too large."),
    ("queues: {q: 3}", "1:10: queues.q: 3 is not a mapping."),
    ("tasks: {t: 3}\ndefaults: {timeout_s: 1}", "1:9: tasks.t: 3 is not a mapping."),
    ("tasks: 3", "1:1: tasks: 3 is not a mapping."),
    ("tasks: {A: {queue: queue_a, handler: 'm:f'}}", "1:9: tasks.A: the name 'A' does not fit. Write lower-case"),
    ("tasks: {a..b: {queue: queue_a, handler: 'm:f'}}", "1:9: tasks.a..b: the name 'a..b' does not fit."),
    (
        f"tasks: {{{'t' * 101}: {{queue: queue_a, handler: 'm:f'}}}}",
        f"1:9: {'tasks.' + 't' * 101}: the name".replace("tasks." + "t" * 101, f"tasks.'{'t' * 75}…'"),
    ),
    ("tasks: {t: {handler: 'm:f'}}", "1:9: tasks.t: the key queue is missing. Add it."),
    ("tasks: {t: {queue: queue_a}}", "1:9: tasks.t: the key handler is missing. Add it."),
    ("tasks: {t: {queue: queue_a, handler: m}}", "1:29: tasks.t.handler: the name 'm' does not fit. Write module"),
    ("tasks: {t: {queue: queue_a, handler: 'm:f()'}}", "1:29: tasks.t.handler: the name 'm:f()' does not fit."),
    ("tasks: {t: {queue: queue_a, handler: 'm..n:f'}}", "1:29: tasks.t.handler: the name"),
    ('tasks: {t: {queue: queue_a, handler: "m:f\\n"}}', "1:29: tasks.t.handler: the name"),
    ("tasks: {t: {queue: 3, handler: 'm:f'}}", "1:13: tasks.t.queue: 3 is not text. Put quotes around it."),
    (
        "tasks: {t: {queue: queue_x, handler: 'm:f'}}",
        "1:13: tasks.t.queue: 'queue_x' is not one of the queues (queue_a, queue_b). Use one of these, or add it",
    ),
    (
        "tasks: {t: {queue: queue_a, handler: 'm:f', retries: 3}}",
        "1:45: tasks.t.retries: there is no such key. Did you mean retry?",
    ),
    (
        "defaults: {executor: fork}",
        "1:12: defaults.executor: 'fork' is not 'process', 'thread' or 'async'. Use one",
    ),
    ("defaults: {timeout_s: 0}", "1:12: defaults.timeout_s: 0 is too small."),
    ("defaults: {retry: 3}", "1:12: defaults.retry: 3 is not a mapping."),
    ("defaults: {retry: {max_retries: 101}}", "1:20: defaults.retry.max_retries: 101 is too large."),
    ("defaults: {retry: {max_retries: -1}}", "1:20: defaults.retry.max_retries: -1 is too small."),
    (
        "defaults: {retry: {backoff_s: 5}}",
        "1:20: defaults.retry.backoff_s: 5 is not a list. Write it like [a, b].",
    ),
    ("defaults: {retry: {backoff_s: []}}", "1:20: defaults.retry.backoff_s: the list is empty."),
    ("defaults: {retry: {backoff_s: [1, 0.09]}}", "1:35: defaults.retry.backoff_s[1]: 0.09 is too small."),
    ("defaults: {retry: {backoff_s: [104857.6]}}", "1:32: defaults.retry.backoff_s[0]: 104857.6 is too large."),
    ("defaults: {retry: {backoff_s: [1, null]}}", "1:35: defaults.retry.backoff_s[1]: null is not a number."),
    ("defaults: {retry: {jitter: 1.1}}", "1:20: defaults.retry.jitter: 1.1 is too large. Use 1.0 or less."),
    (
        "defaults: {retry: {backoff_s: [100000]}}",
        "1:12: defaults.retry: backoff_s with its jitter reaches 110000.0 s",
    ),
    ("workload: {task: task_a}", "1:1: workload: this is not a list."),
    ("workload: [task_a]", "1:12: workload[0]: 'task_a' is not a mapping."),
    ("workload: [{}]", "1:12: workload[0]: the key task is missing."),
    ("workload: [{task: task_a, count: 0}]", "1:27: workload[0].count: 0 is too small."),
    ("workload: [{task: task_a, arguments: [1]}]", "1:27: workload[0].arguments: this is not a mapping."),
    (
        "workload: [{task: task_a, arguments: {1: 2}}]",
        "1:39: workload[0].arguments: a key is not text. Put quotes",
    ),
    (
        "workload: [{task: task_a}, {task: t}]",
        "1:29: workload[1].task: 't' is not one of the tasks (task_a, task_b).",
    ),
    (
        "tasks: {}\nworkload: [{task: t}]",
        "2:13: workload[0].task: 't' is not one of the tasks, for there are none.",
    ),
    ("mailboxes: [A]", "1:13: mailboxes[0]: the name 'A' does not fit."),
    ("mailboxes: a", "1:1: mailboxes: 'a' is not a list."),
    ("replies: both", "1:1: replies: 'both' is not 'direct' or 'mailbox'. Use one of these."),
    ("limits: {body_bytes: 1}", "1:10: limits.body_bytes: 1 is too small."),
    ("limits: {header_bytes: 100000}", "1:10: limits.header_bytes: 100000 is too large."),
    ("limits: {history_entries: 100}", "1:1: limits: history_entries × error_text_bytes is more than half"),
    ("limits: {ledger_bytes: -1}", "1:10: limits.ledger_bytes: -1 is too small."),
    ("limits: {depth: 1000}", "1:10: limits.depth: 1000 is too large."),
    (
        "worker: {}\nbroker: {}\nworker: {}",
        "3:1: worker: this key stands twice, first at config.yml:1:1. Remove one",
    ),
    ("1: 2", "1:1: a key is not text. Put quotes around it."),
    ("? [a]\n: b", "1:3: a key is not text."),
]


@pytest.mark.parametrize(("text", "expected"), WRONG_VALUES)
def test_a_wrong_value_names_its_place_key_fault_and_cure(text: str, expected: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith("config.yml:" + expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a]", "config.yml:1:1: is not a mapping."),
        ("text", "config.yml:1:1: is not a mapping."),
        ("a: [", "config.yml:1:5: not valid YAML: "),
        ("a: b: c", "config.yml:1:5: not valid YAML: mapping values are not allowed here."),
        ("a:\n\tb: c", "config.yml:2:1: not valid YAML: found character '\\t' that cannot start any token."),
        ("a: 'b", "config.yml:1:6: not valid YAML: found unexpected end of stream."),
        ("a: b\n---\nc: d", "config.yml:2:1: not valid YAML: found another document."),
        ("a: &x b\nc: *x", "config.yml:1:4: not valid YAML: anchors, aliases and tags"),
        ("a: *x", "config.yml:1:4: not valid YAML: anchors, aliases and tags"),
        ("a: !!python/object:os.system b", "config.yml:1:4: not valid YAML: anchors, aliases and tags"),
        ("a: !!int canary", "config.yml:1:4: not valid YAML: anchors, aliases and tags"),
        ("a: !canary!x b", "config.yml:1:4: not valid YAML: found undefined tag handle."),
        ("a: " + "[" * 5000, "config.yml:1:35: not valid YAML: more than 32 levels are nested. Flatten it."),
        ("a: " + "{a: " * 5000, "config.yml:1:125: not valid YAML: more than 32 levels are nested. Flatten it."),
        ("a: b\nc: \x07", "config.yml:2:1: a control character is not allowed in YAML."),
        ("a: " + "b" * 1024 * 1024, "config.yml: is larger than 1 MiB."),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_place(text: str, expected: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(expected)
    assert SECRET not in problem


def test_a_file_that_is_not_utf8_is_refused_with_its_line() -> None:
    Path("config.yml").write_bytes(b"worker: {}\n# \xff\n")
    with pytest.raises(ConfigError, match=r"^config\.yml:2: is not UTF-8 text"):
        load(environ={})


def test_all_problems_are_reported_at_once_and_none_that_only_follows_from_another() -> None:
    found = problems(
        """\
broker: {heartbeat_s: no, url: [amqp://u:canary@h:x, amqp://, amqp://fine]}
queues: {queue_a: {prefetch: many}, Queue: {}}
tasks:
  a: {queue: queue_x, handler: nothing}
  b: {queue: Queue, handler: "m:f", retry: {jitter: 5}}
  c: {handler: "m:f"}
  d: {queue: queue_a, handler: "m:f", timeout_s: 1801}
workload: [{task: a}, {task: c}, {task: z, count: 0}]
defaults: {timeout_s: [], retry: {max_retries: x, backof_s: 1}}
mailboxes: [fine, NOT, fine, NOR]
""",
        BROKER_URL="",
        GLASSRABBIT__WORKER__CONCURRENCY="some",
        GLASSRABBIT__WORKER__NOTHING="1",
    )
    assert sorted(problem.split(": ")[:2] for problem in found) == sorted(
        [
            ["GLASSRABBIT__WORKER__CONCURRENCY", "worker.concurrency"],
            [
                "GLASSRABBIT__WORKER__NOTHING",
                "there is no such setting. Write GLASSRABBIT__SECTION__KEY with a key of the file.",
            ],
            ["config.yml:1:10", "broker.heartbeat_s"],
            ["config.yml:1:33", "broker.url[0]"],
            ["config.yml:1:54", "broker.url[1]"],
            ["config.yml:2:20", "queues.queue_a.prefetch"],
            ["config.yml:2:37", "queues.Queue"],
            ["config.yml:4:7", "tasks.a.queue"],
            ["config.yml:4:23", "tasks.a.handler"],
            ["config.yml:5:45", "tasks.b.retry.jitter"],
            ["config.yml:6:3", "tasks.c"],
            ["config.yml:8:35", "workload[2].task"],
            ["config.yml:8:44", "workload[2].count"],
            ["config.yml:9:12", "defaults.timeout_s"],
            ["config.yml:9:35", "defaults.retry.max_retries"],
            ["config.yml:9:51", "defaults.retry.backof_s"],
            ["config.yml:10:19", "mailboxes[1]"],
            ["config.yml:10:30", "mailboxes[3]"],
        ]
    )


def test_of_a_key_that_stands_twice_only_the_last_is_looked_at() -> None:
    (problem,) = problems("worker: {concurrency: x}\nworker: {grace_s: 1}")
    assert "stands twice" in problem


SECTIONS = st.sampled_from(["broker", "queues", "tasks", "defaults", "worker", "workload", "limits", "mailboxes"])
KEYS = st.sampled_from(
    [
        "url",
        "tls",
        "retry",
        "queue",
        "handler",
        "task",
        "count",
        "timeout_s",
        "backoff_s",
        "concurrency",
        "prefetch",
    ]
)
WORDS = SECTIONS | KEYS | st.sampled_from(["queue_a", "a.b", "A", "m:f", "amqp://h", "amqp://u:canary@", "path"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


@run(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(WORDS, VALUES, max_size=6),
    st.dictionaries(st.tuples(SECTIONS, KEYS), VALUES.map(json.dumps), max_size=2),
)
def test_whatever_is_written_becomes_settings_or_problems_and_nothing_else(
    tree: dict[str, object], environ: dict[tuple[str, str], str]
) -> None:
    Path("config.yml").write_text(json.dumps(tree))
    try:
        read_back = load(environ={f"GLASSRABBIT__{'__'.join(keys).upper()}": v for keys, v in environ.items()})
    except ConfigError as error:
        outcome = error.problems
    else:
        outcome = ("settings", *(text for _, text in contradictions(read_back)))
    assert outcome
    assert outcome[1:] == () or outcome[0] != "settings"
    assert SECRET not in "".join(outcome)


# What does not fit together.


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("    fallback: m:f\n", "config.yml:7:5: tasks.task_a.fallback: nothing opens for it. Name a breaker"),
        (
            "    breaker: b\n",
            "config.yml:7:5: tasks.task_a.breaker: 'b' is not one of the breakers, for there are none.",
        ),
        ("breakers: {B: {}}\n", "config.yml:7:12: breakers.B: the name 'B' does not fit."),
        ("breakers: {b: {runs: 0}}\n", "config.yml:7:16: breakers.b.runs: 0 is too small."),
        ("breakers: {b: {failure_share: 0}}\n", "config.yml:7:16: breakers.b.failure_share: 0 is too small."),
        ("breakers: {b: {open_s: 3601}}\n", "config.yml:7:16: breakers.b.open_s: 3601 is too large."),
    ],
)
def test_a_breaker_that_cannot_do_its_work_is_refused(more: str, expected: str) -> None:
    said = problems(ONE_TASK + more)
    assert any(problem.startswith(expected) for problem in said), said


def holding(
    timeout_s: float,
    prefetch: int | None = None,
    concurrency: int = 2,
    breaker: str | None = None,
    **further: Any,
) -> Settings:
    return Settings(
        queues={"q": QueueSettings(prefetch=prefetch)},
        tasks={"t": TaskSettings(queue="q", handler="m:f", timeout_s=timeout_s, breaker=breaker)},
        worker=WorkerSettings(concurrency=concurrency),
        **further,
    )


@pytest.mark.parametrize(
    ("prefetch", "concurrency", "longest"),
    [(3, 1, 600), (1, 1, 1800), (2, 2, 1800), (3, 2, 900)],
)
def test_a_task_may_take_as_long_as_the_broker_waits_for_the_last_prefetched_one(
    prefetch: int, concurrency: int, longest: int
) -> None:
    assert granted_s(holding(longest, prefetch, concurrency), ["q"], "4.0.5") == 1800 + SETTLE_S
    with pytest.raises(ConfigError) as raised:
        granted_s(holding(longest + 0.5, prefetch, concurrency), ["q"], "4.0.5")
    (problem,) = raised.value.problems
    assert f"t can take {1800 // longest} × {longest + 0.5:g} s, and RabbitMQ 4.0.5 takes a task back" in problem
    assert "broker.consumer_timeout_s" in problem


def test_what_waits_goes_back_in_time_where_the_prefetch_finds_itself_and_tasks_are_long() -> None:
    assert not goes_back(holding(900), ["q"])
    assert goes_back(holding(900.5), ["q"])
    assert not goes_back(holding(900.5, prefetch=4), ["q"])
    assert granted_s(holding(1500), ["q"], "4.0.5") == 1800 + SETTLE_S
    with pytest.raises(
        ConfigError, match=r"t can wait 300 s and take 1500\.5 s, and RabbitMQ 4\.0\.5 takes a task back"
    ):
        granted_s(holding(1500.5), ["q"], "4.0.5")


def test_a_broker_that_is_said_to_wait_longer_may_be_given_longer_tasks() -> None:
    settings = holding(3000, broker=BrokerSettings(consumer_timeout_s=7200))
    assert granted_s(settings, ["q"], "3.10.8") == 7200
    with pytest.raises(ConfigError):
        granted_s(settings.model_copy(update={"broker": BrokerSettings()}), ["q"], "3.10.8")


@pytest.mark.parametrize("version", ["4.3.0", "4.10.1", "5.0.0", "of another make"])
def test_from_rabbitmq_4_3_on_a_worker_asks_for_what_it_needs_and_never_for_less_than_was_said(
    version: str,
) -> None:
    assert granted_s(holding(86_400, 1, 1), ["q"], version) == 86_400 + SETTLE_S
    assert granted_s(holding(1, 1, 1), ["q"], version) == 1800


def test_each_of_the_held_tasks_waits_its_turn_at_an_open_breaker() -> None:
    settings = holding(300, breakers={"b": BreakerSettings(open_s=5)}, breaker="b")
    assert held_s(settings, ["q"]) == (1220, "with an open breaker b and prefetch 4, t can wait 4 × 305 s")


def test_the_tasks_of_all_queues_of_a_worker_wait_for_the_same_slots() -> None:
    queues = [f"queue_{letter}" for letter in "abcdefgh"]
    settings = Settings.model_validate(
        {
            "queues": {queue: {"prefetch": 4} for queue in queues},
            "tasks": {"slow": {"queue": "queue_a", "handler": "m:f", "timeout_s": 300}},
        }
    )
    assert held_s(settings, queues[:2])[0] == 1200
    assert held_s(settings, queues) == (4800, "with prefetch 32 and concurrency 2, slow can take 16 × 300 s")
    assert held_s(settings, queues[1:]) == (0, "it has no tasks")


def test_a_retry_delay_may_be_as_long_as_the_delay_line() -> None:
    assert RetrySettings(backoff_s=(1, LONGEST_S), jitter=0).backoff_s[1] == LONGEST_S
    with pytest.raises(ValidationError, match="Lower backoff_s or jitter"):
        RetrySettings(backoff_s=(LONGEST_S / 2, LONGEST_S / 2 + 0.1), jitter=1)


def test_a_retry_that_only_becomes_too_long_by_inheritance_is_reported_at_the_task() -> None:
    found = problems(ONE_TASK + "    retry: {jitter: 1}\ndefaults: {retry: {backoff_s: [60000], jitter: 0}}")
    assert [problem.split(": ")[:2] for problem in found] == [["config.yml:7:5", "tasks.task_a.retry"]]


def test_settings_built_in_code_can_be_checked_too() -> None:
    settings = Settings(
        queues={}, tasks={"t": TaskSettings(queue="q", handler="m:f")}, workload=(WorkItem(task="u"),)
    )
    assert [loc for loc, _ in contradictions(settings)] == [
        ("queues",),
        ("tasks", "t", "queue"),
        ("workload", 0, "task"),
    ]


# The environment.


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("GLASSRABBIT__WORKER__CONCURRENCY", "4", "worker.concurrency", 4),
        ("glassrabbit__worker__Concurrency", " 4 ", "worker.concurrency", 4),
        ("GLASSRABBIT__WORKER__GRACE_S", "2.5", "worker.grace_s", 2.5),
        ("GLASSRABBIT__BROKER__HEARTBEAT_S", "7", "broker.heartbeat_s", 7),
        ("GLASSRABBIT__BROKER__TLS__CA_FILE", "/ca.pem", "broker.tls.ca_file", Path("/ca.pem")),
        (
            "GLASSRABBIT__BROKER__URL",
            "amqp://a, amqp://b",
            "broker.endpoints",
            (parse_endpoint("amqp://a"), parse_endpoint("amqp://b")),
        ),
        ("GLASSRABBIT__DEFAULTS__EXECUTOR", "thread", "defaults.executor", "thread"),
        ("GLASSRABBIT__DEFAULTS__RETRY__BACKOFF_S", "[1, 2.5]", "defaults.retry.backoff_s", (1, 2.5)),
        ("GLASSRABBIT__QUEUES__QUEUE_B__PREFETCH", "3", "queues.queue_b.prefetch", 3),
        ("GLASSRABBIT__TASKS__TASK_A__TIMEOUT_S", "3", "tasks.task_a.timeout_s", 3),
        ("GLASSRABBIT__TASKS__TASK_A__RETRY__JITTER", "0", "tasks.task_a.retry.jitter", 0),
        ("GLASSRABBIT__MAILBOXES", "[a, b]", "mailboxes", ("a", "b")),
        ("GLASSRABBIT__REPLIES", "mailbox", "replies", "mailbox"),
        ("GLASSRABBIT__WORKLOAD", "[{task: task_b, count: 2}]", "workload", (WorkItem(task="task_b", count=2),)),
        ("GLASSRABBIT__LIMITS__LEDGER_BYTES", "1_000", "limits.ledger_bytes", 1000),
    ],
)
@pytest.mark.parametrize("text", [None, "worker: {concurrency: 3}\nbroker: {url: [amqp://x]}\nqueues:\ntasks:\n"])
def test_a_variable_wins_over_the_file(
    variable: str, value: str, key: str, expected: object, text: str | None
) -> None:
    settings: object = load(environ={variable: value}) if text is None else read(text, **{variable: value})
    for part in key.split("."):
        settings = settings[part] if isinstance(settings, dict) else getattr(settings, part)
    assert settings == expected


def test_every_single_setting_has_a_variable() -> None:
    environ = {
        "GLASSRABBIT__LIMITS__" + name.upper(): str(field.default)
        for name, field in LimitsSettings.model_fields.items()
    }
    assert load(environ=environ) == Settings()


def test_a_dot_in_a_task_name_may_be_written_as_an_underscore() -> None:
    for variable in ("GLASSRABBIT__TASKS__CPU_BURN__TIMEOUT_S", "GLASSRABBIT__TASKS__CPU.BURN__TIMEOUT_S"):
        assert load(SHIPPED, {variable: "9"}).tasks["cpu.burn"].timeout_s == 9


def test_a_variable_that_could_mean_two_tasks_is_refused() -> None:
    tasks = 'tasks: {a.b: {queue: queue_a, handler: "m:f"}, a_b: {queue: queue_a, handler: "m:f"}}'
    (problem,) = problems(tasks, GLASSRABBIT__TASKS__A_B__TIMEOUT_S="1")
    assert problem == (
        "GLASSRABBIT__TASKS__A_B__TIMEOUT_S: stands for tasks.a.b.timeout_s and tasks.a_b.timeout_s. "
        "Set these in the file."
    )


def test_broker_url_wins_over_everything_and_then_the_rest_is_not_looked_at() -> None:
    settings = read(
        "broker: {url: nonsense}", BROKER_URL="amqp://a,amqp://b/v", GLASSRABBIT__BROKER__URL="nonsense"
    )
    assert [endpoint.host for endpoint in settings.broker.endpoints] == ["a", "b"]


def test_a_wrong_item_of_broker_url_is_named_by_its_number() -> None:
    assert problems("broker: {url: [amqp://x]}", BROKER_URL="amqp://a,amqp://,http://x")[0].startswith(
        "BROKER_URL: broker.url[1]: the URL names no host."
    )


def test_broker_url_with_nothing_but_commas_is_a_problem() -> None:
    assert problems("", BROKER_URL=",") == ["BROKER_URL: broker.url: the list is empty. Give at least one."]


@pytest.mark.parametrize("name", ["BROKER_URL", "GLASSRABBIT_CONFIG", "GLASSRABBIT__WORKER__CONCURRENCY"])
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    assert load(environ={name: ""}) == Settings()


@pytest.mark.parametrize("name", ["GLASSRABBIT_WORKER__CONCURRENCY", "GLASSRABBIT", "XGLASSRABBIT__A", "PATH"])
def test_other_variables_are_none_of_our_business(name: str) -> None:
    assert load(environ={name: "9"}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "GLASSRABBIT__WORKER__CONCURENCY",
            "4",
            "there is no such setting. Did you mean GLASSRABBIT__WORKER__CONCURRENCY?",
        ),
        (
            "GLASSRABBIT__",
            "4",
            "there is no such setting. Write GLASSRABBIT__SECTION__KEY with a key of the file.",
        ),
        ("GLASSRABBIT__PATH", "/x", "there is no such setting."),
        ("GLASSRABBIT__WORKER", "4", "there is no such setting."),
        ("GLASSRABBIT__TASKS", "{}", "there is no such setting."),
        (
            "GLASSRABBIT__TASKS__TASK_X__TIMEOUT_S",
            "4",
            "there is no such setting. Did you mean GLASSRABBIT__TASKS__TASK_",
        ),
        ("GLASSRABBIT__WORKER__CONCURRENCY", "'4'", "worker.concurrency: '4' is not a whole number."),
        ("GLASSRABBIT__WORKER__CONCURRENCY", "[", "not valid YAML: "),
        ("GLASSRABBIT__WORKER__CONCURRENCY", "\x07", "a control character is not allowed in YAML."),
        ("GLASSRABBIT__WORKER__CONCURRENCY", "\udcff", "a control character is not allowed in YAML."),
        ("GLASSRABBIT__WORKER__CONCURRENCY", "*x", "not valid YAML: anchors"),
        ("GLASSRABBIT__DEFAULTS__RETRY__BACKOFF_S", "5", "defaults.retry.backoff_s: 5 is not a list."),
        ("GLASSRABBIT__DEFAULTS__RETRY__BACKOFF_S", "[5, x]", "defaults.retry.backoff_s[1]: 'x' is not a number."),
        (
            "GLASSRABBIT__DEFAULTS__RETRY__BACKOFF_S",
            "[100000]",
            "defaults.retry: backoff_s with its jitter reaches",
        ),
        (
            "GLASSRABBIT__TASKS__TASK_A__RETRY__BACKOFF_S",
            "[100000]",
            "tasks.task_a.retry: backoff_s with its jitter",
        ),
        ("GLASSRABBIT__TASKS__TASK_A__QUEUE", "queue_x", "tasks.task_a.queue: 'queue_x' is not one of the queues"),
        ("GLASSRABBIT__WORKLOAD", "[{task: t}]", "workload[0].task: 't' is not one of the tasks"),
        (
            "GLASSRABBIT__WORKLOAD",
            "[{tsk: t, task: task_a}]",
            "workload[0].tsk: there is no such key. Did you mean task?",
        ),
    ],
)
def test_a_wrong_variable_is_named_instead_of_a_place(variable: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(environ={variable: value})
    assert raised.value.problems[0].startswith(f"{variable}: {expected}")


# Passwords.

LEAKS = [
    "broker: {url: 'amqp://u:canary@'}",
    "broker: {url: 'amqp://u:canary'}",
    "broker: {url: ['amqp://u:canary@h', 'u:canary@h']}",
    "broker: {url: {amqp://u:canary@h: 1}}",
    "broker: {url: canary}",
    "broker: amqp://u:canary@h",
    "broker: {urls: amqp://u:canary@h}",
    "broker: {password: canary}",
    "broker: {amqp://u:canary@h/: 1}",
    "broker: {heartbeat_s: amqp://u:canary@h}",
    "broker: {tls: amqp://u:canary@h}",
    "broker: {url: amqp://u:canary@h: 5}",
    "broker: {url: amqp://u:canary@h, url: amqp://u:canary@h}",
    "broker: {url: !amqp://u:canary@h x}",
    "broker: {url: !canary!h x}",
    "broker: {url: *canary}",
    "broker: {url: &canary x}",
    'broker: {url: "amqp://u:canary\\q@h"}',
    "broker: {url: 'amqp://u:canary@h",
    "broker: {url: amqp://u:canary@h",
    "amqp://u:canary@h",
    "- amqp://u:canary@h",
    "amqp://u:canary@h: 1\namqp://u:canary@h: 1",
    "queues: {amqp://u:canary@h: {}}\ntasks: {t: {queue: q, handler: 'm:f'}}",
    "tasks: {amqp://u:canary@h: {}}\nworkload: [{task: x}]",
    "tasks: {t: {queue: amqp://u:canary@h, handler: amqp://u:canary@h}}",
    "workload: [{task: amqp://u:canary@h}]",
    "mailboxes: [amqp://u:canary@h]",
    "replies: amqp://u:canary@h",
    "defaults: {executor: amqp://u:canary@h, retry: {backoff_s: [amqp://u:canary@h]}}",
]


def everything_of(error: BaseException | None) -> str:
    """All that a traceback could print of it."""
    if error is None:
        return ""
    hidden = error.__suppress_context__
    return f"{error}{error!r}" + everything_of(error.__cause__ or (None if hidden else error.__context__))


@pytest.mark.parametrize("text", LEAKS)
def test_no_problem_of_a_file_shows_a_password(text: str) -> None:
    Path("config.yml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(environ={})
    assert SECRET not in everything_of(raised.value)


@pytest.mark.parametrize(
    "variable",
    [
        "BROKER_URL",
        "GLASSRABBIT__BROKER__URL",
        "GLASSRABBIT__BROKER__PASSWORD",
        "GLASSRABBIT__BROKER__HEARTBEAT_S",
        "GLASSRABBIT__REPLIES",
        "GLASSRABBIT__WORKLOAD",
        "GLASSRABBIT__TASKS__TASK_A__QUEUE",
    ],
)
@pytest.mark.parametrize(
    "url", ["amqp://u:canary", "u:canary@h", "amqp://u:canary@h:x", "[amqp://u:canary@h", "*canary@h"]
)
def test_no_problem_of_the_environment_shows_a_password(variable: str, url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(environ={variable: url})
    assert SECRET not in everything_of(raised.value)


def test_settings_never_show_a_password() -> None:
    settings = load(environ={"BROKER_URL": "amqp://u:canary@a,amqps://u:canary@b"})
    assert settings.broker.endpoints[0].password == SECRET
    for text in (str(settings), repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in text
        assert "guest" not in text


def test_errors_of_settings_built_in_code_do_not_show_it_either() -> None:
    for url in ("amqp://u:canary", ["amqp://u:canary@h:x"], {"canary": 1}):
        with pytest.raises(ValidationError) as raised:
            BrokerSettings(url=url)  # type: ignore[arg-type]
        assert SECRET not in str(raised.value) + repr(raised.value)


# What it costs.


def test_importing_the_settings_loads_neither_yaml_nor_pika() -> None:
    heavy = {"yaml", "pika", "rich", "click", "asyncio"}
    code = f"import sys, broker.config.settings; print(*({heavy} & set(sys.modules)))"
    root = Path(__file__).parents[4]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.split() == []
