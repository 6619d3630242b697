from typing import Any


def deaths(headers: dict[str, Any] | None) -> tuple[int, str | None]:
    headers = headers or {}
    return sum(int(entry["count"]) for entry in headers.get("x-death", [])), headers.get("x-first-death-queue")
