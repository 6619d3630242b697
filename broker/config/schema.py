"""The keys of the configuration as JSON Schema, for editors and for checks before anything runs. Pure.

The shapes, bounds and defaults are those of ``broker.config.settings``; here is what each key means, in words.
What does not fit together across keys is reported by ``config validate`` alone.
"""

from __future__ import annotations

from typing import Any

from broker.config.settings import Settings

#: Units by the end of a key's name, the longest first.
_UNITS = {"_bytes": "bytes", "_s": "seconds"}

#: By section (the class in ``broker.config.settings``) and key.
MEANINGS: dict[str, dict[str, str]] = {
    "Settings": {
        "broker": "Where the broker is, and how long to wait for it.",
        "queues": "Work queues by name: lower-case letters, digits and _. Each has a queue NAME.dead beside it.",
        "tasks": "Kinds of task by name: the queue each goes to, and its handler.",
        "defaults": "What holds for every task that does not say it itself.",
        "breakers": "Circuit breakers by name: lower-case letters, digits and _. A task names its own.",
        "worker": "How one worker works.",
        "scaling": "How many workers `python -m worker autoscale` keeps for each queue.",
        "control": "The stream by which operators steer workers while they run; see docs/steering.md.",
        "workload": "What a bare `python -m dispatcher` sends.",
        "replies": "direct: to the dispatcher's connection; mailbox: to a durable queue.",
        "mailboxes": "Durable reply queues that `python -m broker declare` makes.",
        "limits": "Bounds on what is sent, received and remembered; all of one virtual host should agree on them.",
    },
    "BrokerSettings": {
        "url": "amqp://user:password@host:5672/vhost, or a list of such of which any will do. BROKER_URL wins.",
        "management_url": "With its path prefix, and without a login; null: host of url, port 15672, or where a "
        "detached broker has it.",
        "management_user": "For the management API; null: the user of url.",
        "management_password": "For the management API; null: the password of url.",
        "heartbeat_s": "A silent connection is given up after at most 2 × (this + 5) seconds.",
        "connect_timeout_s": "For one attempt to connect.",
        "confirm_timeout_s": "For the broker's confirm of one message.",
        "tls": "Files for amqps and https URLs, relative to the current folder.",
    },
    "TlsSettings": {
        "ca_file": "Who may vouch for the broker, as PEM; null: the system's authorities.",
        "cert_file": "A client certificate, as PEM, if the broker wants one.",
        "key_file": "Its key, as PEM, which only its owner may read.",
    },
    "QueueSettings": {
        "delivery_limit": "Returns after which the broker buries a task.",
        "prefetch": "Tasks that one worker holds at most; null: worker.concurrency + 2 and more, as it finds.",
    },
    "DefaultSettings": {
        "retry": "What happens after a failed attempt.",
        "timeout_s": "Hard limit of one attempt.",
        "executor": "Where handlers run: children of the worker, threads, or an event loop.",
    },
    "RetrySettings": {
        "max_retries": "Attempts after the first one.",
        "backoff_s": "The wait before retry 1, 2, 3; the last one repeats.",
        "jitter": "Up to this part longer, at random.",
    },
    "TaskSettings": {
        "queue": "One of queues.",
        "handler": "The function that does it, as module:function.",
        "breaker": "One of breakers; null: none.",
        "fallback": "The function that answers while the breaker is open, as module:function; null: tasks wait.",
    },
    "BreakerSettings": {
        "failure_share": "It opens when such a part of the latest runs failed; 0.5 is half of them.",
        "runs": "How many are the latest; with fewer it does not open.",
        "open_s": "Wait before one task is tried, again and again until one goes well.",
    },
    "WorkerSettings": {
        "concurrency": "Tasks that one worker runs at a time.",
        "grace_s": "How much longer what runs at SIGTERM may run; then it is given back.",
        "cancel_grace_s": "A task in a child that is cancelled has so long from SIGTERM to SIGKILL.",
        "start": "Children are fresh interpreters (spawn), or forks of one with the handlers (fork, Linux).",
        "import_timeout_s": "How long a child of a worker may take to import its handlers.",
        "handlers_get_login": "Whether handlers in processes find BROKER_URL, as those need that send tasks.",
        "max_tasks_per_child": "Tasks after which a child process is replaced; null: never.",
        "max_memory_per_child_mb": "A child that has more MiB after a task is replaced; null: never.",
        "log_tasks": "Whether each task that ends is a line of the log; `python -m worker -v` turns it on, too.",
        "http": "Where each worker serves /livez, /readyz and /metrics.",
    },
    "HttpSettings": {
        "enabled": "Whether it is served.",
        "port": "If taken, one of the next 9, then any that is free; 0: any. The log says which.",
        "bind": "An IP address; one that other machines reach needs a token.",
        "token": "What everybody who asks has to show (Authorization: Bearer …): 16 characters or more.",
        "open_probes": "Whether /livez and /readyz ask for none, for probes that can show none.",
    },
    "ScalingSettings": {
        "mode": "What value is: seconds until the queue is empty, or tasks (ready and unacked) of one worker.",
        "value": "The target: seconds with ExpectedQueueConsumptionTime, tasks with QueueLength.",
        "min_replica_count": "Never fewer workers of one queue.",
        "max_replica_count": "Never more workers of one queue.",
        "polling_interval_s": "Between two looks.",
        "tolerance": "No change while the load is so near to the target; 0.1 is 10 %.",
        "stabilization_window_s": "Fewer workers only after fewer were enough for this time.",
        "fallback": "What happens while there are no numbers.",
    },
    "FallbackSettings": {
        "failure_threshold": "Looks in a row without numbers until replicas counts.",
        "replicas": "Workers after that; null: as many as there are.",
    },
    "ControlSettings": {
        "enabled": "Whether it is declared, and read by workers.",
        "required": "true: a worker takes no task before it has read the stream; false: it waits for 5 s at most.",
        "retention_s": "What was said is kept for so long; what still holds is said again before half of it.",
        "retention_bytes": "How many bytes it may hold.",
    },
    "WorkItem": {
        "task": "One of tasks.",
        "count": "How many of it.",
        "arguments": "Of each.",
    },
    "LimitsSettings": {
        "body_bytes": "Of one message.",
        "header_bytes": "Of the headers that a retry or dead letter carries.",
        "depth": "Maps and lists within one another.",
        "nodes": "Values in one body.",
        "error_text_bytes": "Kept of an error's text.",
        "history_entries": "Earlier attempts that a message lists: the first and the last ones.",
        "batch_tasks": "Tasks in one message; a longer batch is refused.",
        "ledger_entries": "Finished tasks that a worker remembers.",
        "ledger_age_s": "For how long it remembers them.",
        "ledger_bytes": "In how much memory.",
    },
}

_URL = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "null"}],
    "default": "amqp://guest:guest@localhost:5672/",
}


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a configuration file. ``x-unit`` names the unit of a number."""
    top = Settings.model_json_schema(by_alias=True)
    sections: dict[str, dict[str, Any]] = top.pop("$defs")
    top["properties"].pop("path")  # set by reading, no key of the file
    sections["BrokerSettings"]["properties"]["url"] = _URL
    made = {name: _section(name, model) for name, model in sections.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of Glassrabbit",
        **_section("Settings", top),
        "$defs": made,
    }


def _section(name: str, model: dict[str, Any]) -> dict[str, Any]:
    required = model.get("required", [])
    keys = {key: _key(name, key, shape, key in required) for key, shape in model["properties"].items()}
    section = {"type": "object", "properties": keys, "additionalProperties": False}
    return {**section, "required": required} if required else section


def _key(section: str, key: str, shape: dict[str, Any], is_required: bool) -> dict[str, Any]:
    made = {word: value for word, value in shape.items() if word != "title"}
    if made.get("additionalProperties") == {"$ref": "#/$defs/QueueSettings"}:
        made["additionalProperties"] = _or_null(made["additionalProperties"])
    if not is_required:
        made = _or_null(made)
    unit = next((unit for end, unit in _UNITS.items() if key.endswith(end)), None)
    meaning = MEANINGS.get(section, {}).get(key) or MEANINGS["DefaultSettings"].get(key, "")
    made["description"] = f"{meaning} In {unit}." if unit else meaning
    return {**made, "x-unit": unit} if unit else made


def _or_null(shape: dict[str, Any]) -> dict[str, Any]:
    """A key with nothing behind it has its default."""
    if {"type": "null"} in shape.get("anyOf", []):
        return shape
    default = {"default": shape.pop("default")} if "default" in shape else {}
    return {"anyOf": [shape, {"type": "null"}], **default}
