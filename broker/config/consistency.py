"""What does not fit together across sections of a configuration. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from broker.config.endpoint import is_plain, shown
from broker.config.settings import Settings
from broker.config.yaml_document import Loc


def contradictions(settings: Settings) -> list[tuple[Loc, str]]:
    """What does not fit together across sections: the place, and a sentence that ends with what to do."""
    goes_to = {name: task.queue for name, task in settings.tasks.items()}
    sent = [item.task for item in settings.workload]
    return [*dangling(settings.queues, goes_to, sent), *unbroken(settings)]


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


def _unknown(name: str, section: str, known: Collection[str]) -> str:
    names = sorted(filter(is_plain, known))
    some = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    listed = f" ({some}). Use one of these, or add it" if known else ", for there are none. Add it"
    return f"{shown(name)} is not one of the {section}{listed} under {section}."
