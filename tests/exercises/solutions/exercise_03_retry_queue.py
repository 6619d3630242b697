from tests.exercises.exercise_03_retry_queue import DELAYS_MS


def waits_in(attempt: int) -> tuple[str, int | None]:
    return f"retry.{DELAYS_MS[min(attempt, len(DELAYS_MS)) - 1]}", None
