"""What does not fit together across sections of a configuration. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from broker.config.endpoint import is_plain, shown
from broker.config.settings import Settings, effective_prefetch
from broker.config.yaml_document import Loc

#: RabbitMQ takes a delivery back that is unacknowledged for so long (its ``consumer_timeout``).
ACKNOWLEDGEMENT_TIMEOUT_S = 1800


def contradictions(settings: Settings) -> list[tuple[Loc, str]]:
    """What does not fit together across sections: the place, and a sentence that ends with what to do."""
    goes_to = {name: task.queue for name, task in settings.tasks.items()}
    sent = [item.task for item in settings.workload]
    return [*dangling(settings.queues, goes_to, sent), *too_slow(settings), *unbroken(settings)]


def dangling(
    queues: Collection[str], tasks: Mapping[str, object], workload: Iterable[object]
) -> Iterator[tuple[Loc, str]]:
    """Names that nothing declares: ``tasks`` maps a task to its queue, ``workload`` lists tasks."""
    if not queues:
        yield ("queues",), "there is no queue. Add at least one."
    for name, queue in tasks.items():
        if isinstance(queue, str) and queue not in queues:
            yield ("tasks", name, "queue"), _unknown(queue, "queues", queues)
    for index, task in enumerate(workload):
        if isinstance(task, str) and task not in tasks:
            yield ("workload", index, "task"), _unknown(task, "tasks", tasks)


def unbroken(settings: Settings) -> Iterator[tuple[Loc, str]]:
    """Tasks whose breaker cannot do its work."""
    for name, task in settings.tasks.items():
        if task.breaker is None:
            if task.fallback is not None:
                yield ("tasks", name, "fallback"), "nothing opens for it. Name a breaker for this task as well."
        elif task.breaker not in settings.breakers:
            yield ("tasks", name, "breaker"), _unknown(task.breaker, "breakers", settings.breakers)
        elif (queue := settings.queues.get(task.queue)) is not None:
            # Each of those that are held is tried in its turn.
            prefetch = effective_prefetch(queue, settings.worker)
            turn_s = settings.breakers[task.breaker].open_s + task.timeout_s
            if prefetch * turn_s > ACKNOWLEDGEMENT_TIMEOUT_S:
                text = (
                    f"with an open breaker {task.breaker} and prefetch {prefetch}, {name} can wait {prefetch} × "
                    f"{turn_s:g} s in a worker; the broker takes a task back after {ACKNOWLEDGEMENT_TIMEOUT_S} s. "
                    f"Lower timeout_s of {name}, open_s of {task.breaker} or the prefetch of {task.queue}."
                )
                yield ("tasks", name, "timeout_s"), text


def too_slow(settings: Settings) -> Iterator[tuple[Loc, str]]:
    """Tasks that the broker may take back while they wait or run.

    Its acknowledgement timeout counts from delivery, so the wait behind other prefetched tasks is included.
    """
    for name, task in settings.tasks.items():
        queue = settings.queues.get(task.queue)
        if queue is None:
            continue
        prefetch, concurrency = effective_prefetch(queue, settings.worker), settings.worker.concurrency
        rounds = math.ceil(prefetch / concurrency)
        if task.timeout_s * rounds > ACKNOWLEDGEMENT_TIMEOUT_S:
            text = (
                f"with prefetch {prefetch} and concurrency {concurrency}, {name} can take {rounds} × "
                f"{task.timeout_s:g} s; the broker takes a task back after {ACKNOWLEDGEMENT_TIMEOUT_S} s. Use "
                f"at most {ACKNOWLEDGEMENT_TIMEOUT_S / rounds:g}, or a smaller prefetch for {task.queue}."
            )
            yield ("tasks", name, "timeout_s"), text


def too_slow_together(settings: Settings, queues: Sequence[str]) -> Iterator[str]:
    """The same for one worker of several queues, whose deliveries wait for the same slots."""
    concurrency = settings.worker.concurrency
    prefetch = sum(effective_prefetch(settings.queues[queue], settings.worker) for queue in queues)
    rounds = math.ceil(prefetch / concurrency)
    longest = max((task.timeout_s for task in settings.tasks.values() if task.queue in queues), default=0.0)
    if longest * rounds > ACKNOWLEDGEMENT_TIMEOUT_S:
        yield (
            f"a worker of {', '.join(queues)} holds up to {prefetch} tasks with concurrency {concurrency}, so one "
            f"can take {rounds} × {longest:g} s; the broker takes it back after {ACKNOWLEDGEMENT_TIMEOUT_S} s. "
            "Start a worker for fewer queues, raise worker.concurrency, or lower prefetch or timeout_s."
        )


def _unknown(name: str, section: str, known: Collection[str]) -> str:
    names = sorted(filter(is_plain, known))
    some = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    listed = f" ({some}). Use one of these, or add it" if known else ", for there are none. Add it"
    return f"{shown(name)} is not one of the {section}{listed} under {section}."
