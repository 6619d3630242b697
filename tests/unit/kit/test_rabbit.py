"""Where a session has its broker from."""

from __future__ import annotations

import pytest

from glassrabbit_testing import rabbit
from glassrabbit_testing.brokers import DEFAULT
from glassrabbit_testing.nodes import LOCAL


@pytest.mark.parametrize(("missing", "name"), [((), LOCAL), ((DEFAULT,), LOCAL), ((LOCAL,), DEFAULT)])
def test_the_server_of_this_machine_comes_before_a_container(
    missing: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbit, "why_not", lambda name: "not here" if name in missing else None)
    assert rabbit.found() == name


def test_without_either_it_says_what_would_be_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbit, "why_not", lambda name: "no engine answers")
    with pytest.raises(rabbit.NoRabbit, match="install rabbitmq-server or start Docker"):
        rabbit.found()
