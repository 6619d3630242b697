"""The planted bugs: whom each is planted in, what reveals it, and which invariants must catch it.

A checker that passes one of these is blind. ``python -m tests.chaos.mutant --list`` prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.chaos import planted_batches as batches
from tests.chaos import planted_dispatcher as dispatcher
from tests.chaos import planted_worker as worker

Role = Literal["worker", "requester", "collector"]
#: What happens while there is load: see ``tests.chaos.scenario``.
Scenario = Literal[
    "nothing",
    "hostile",
    "worker_killed",
    "crash_after_reply",
    "workers_cut_off",
    "requesters_cut_off",
    "batches",
    "queue_deleted",
    "hop_unbound",
    "acks_lost",
    "right_taken",
    "queues_bounded",
    "disk_alarm",
    "majority_lost",
    "worker_replaced",
    "no_worker",
]
#: The broker of these is used by nobody else: it has to be set up as ours are, or all who use it notice.
ALONE: tuple[Scenario, ...] = ("queues_bounded", "disk_alarm")
#: … and that of these is a cluster.
OF_A_CLUSTER: tuple[Scenario, ...] = ("majority_lost",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """``patch`` plants it in the process that calls it."""

    patch: Callable[[], None]
    role: Role
    scenario: Scenario = "nothing"
    #: All of these.
    caught_by: frozenset[str]
    #: The broker on which it does harm, if it is not all of them.
    broker: str | None = None

    @property
    def name(self) -> str:
        return self.patch.__name__

    @property
    def text(self) -> str:
        """What it does, in words."""
        return " ".join((self.patch.__doc__ or "").split())


def _in_worker(
    patch: Callable[[], None], scenario: Scenario, *caught_by: str, broker: str | None = None
) -> Mutant:
    return Mutant(patch=patch, role="worker", scenario=scenario, caught_by=frozenset(caught_by), broker=broker)


def _in_requester(patch: Callable[[], None], scenario: Scenario, *caught_by: str) -> Mutant:
    return Mutant(patch=patch, role="requester", scenario=scenario, caught_by=frozenset(caught_by))


MUTANTS: tuple[Mutant, ...] = (
    _in_worker(worker.ack_before_work, "worker_killed", "lost", "ack"),
    _in_worker(worker.ack_before_reply_confirm, "nothing", "ack"),
    _in_worker(worker.ack_before_retry_confirm, "nothing", "ack"),
    _in_worker(worker.ack_before_letter_confirm, "hop_unbound", "lost"),
    _in_worker(worker.worker_without_mandatory, "hop_unbound", "lost"),
    _in_worker(worker.old_tags, "workers_cut_off", "ack"),
    # RabbitMQ 4 does not read these headers back: there the bug does nothing.
    _in_worker(worker.broker_headers_copied, "nothing", "lost", broker="3.10"),
    _in_worker(worker.refusals_swallowed, "hostile", "lost"),
    _in_worker(worker.cancel_ignored, "queue_deleted", "recovery"),
    _in_worker(worker.consumes_once, "workers_cut_off", "recovery"),
    _in_worker(worker.attempts_not_counted, "nothing", "duplicate"),
    _in_worker(worker.history_dropped, "nothing", "attempts"),
    _in_worker(worker.retried_as_another, "nothing", "attempts", "duplicate"),
    _in_worker(worker.backoff_ignored, "nothing", "early"),
    _in_worker(worker.delay_rounded_down, "nothing", "early"),
    _in_worker(worker.letter_forgotten, "nothing", "lost", "truth"),
    _in_worker(worker.prefetch_ignored, "nothing", "prefetch"),
    _in_worker(worker.ledger_of_short_ids, "nothing", "lost"),
    _in_worker(worker.ledger_of_a_channel, "acks_lost", "again"),
    _in_worker(worker.failure_before_letter, "nothing", "letter_first"),
    _in_worker(worker.letter_without_right_given_up, "right_taken", "lost"),
    _in_worker(worker.refusal_taken_for_confirm, "queues_bounded", "lost"),
    _in_worker(worker.confirms_not_awaited_under_an_alarm, "disk_alarm", "ack"),
    _in_worker(batches.batch_acked_with_its_first, "batches", "ack"),
    _in_worker(batches.batch_forgets_what_failed, "batches", "ack", "lost"),
    _in_worker(batches.batch_told_of_its_first, "batches", "ack"),
    _in_worker(batches.batch_not_split, "batches", "ack", "lost"),
    _in_worker(worker.dropped_at_sigterm, "worker_replaced", "lost"),
    _in_worker(worker.deaf_to_sigterm, "nothing", "left_over"),
    _in_worker(worker.purged, "nothing", "lost"),
    _in_requester(dispatcher.dispatcher_without_mandatory, "nothing", "lost"),
    _in_requester(dispatcher.return_ignored, "nothing", "lost"),
    _in_requester(dispatcher.confirm_not_awaited, "requesters_cut_off", "lost"),
    _in_requester(dispatcher.lost_confirm_taken_for_return, "requesters_cut_off", "returned_ran"),
    _in_requester(dispatcher.asked_again_as_another, "requesters_cut_off", "duplicate"),
    _in_requester(dispatcher.asked_again_in_impatience, "nothing", "duplicate", "quiet"),
    _in_requester(dispatcher.answered_asked_again, "requesters_cut_off", "answered"),
    _in_requester(dispatcher.delays_in_other_units, "nothing", "late"),
    _in_requester(dispatcher.refused_taken_for_accepted, "queues_bounded", "lost"),
    _in_requester(dispatcher.calls_without_deadline, "no_worker", "deadline"),
    _in_requester(dispatcher.replies_in_order, "nothing", "truth"),
    Mutant(
        patch=dispatcher.replies_not_deduplicated,
        role="collector",
        scenario="crash_after_reply",
        caught_by=frozenset({"replies"}),
    ),
)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
