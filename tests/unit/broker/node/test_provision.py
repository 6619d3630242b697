"""Which broker the set-up takes, decided from facts alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.node.provision import Facts, Need, Step, plan

_ANY_FACTS = st.builds(
    Facts,
    url=st.booleans(),
    server=st.booleans(),
    docker=st.booleans(),
    image=st.booleans(),
    apt=st.booleans(),
    root=st.booleans(),
    sudo=st.booleans(),
    brew=st.booleans(),
)


def test_a_named_broker_comes_before_everything() -> None:
    assert plan(Facts(url=True, server=True, docker=True, image=True)) == (Step.URL,)


def test_a_broker_that_may_be_killed_is_never_the_named_one() -> None:
    assert plan(Facts(url=True, server=True), Need.PRIVATE) == (Step.SERVER,)


def test_the_server_of_the_machine_comes_before_docker() -> None:
    assert plan(Facts(server=True, docker=True, image=True)) == (Step.SERVER,)


def test_an_image_that_is_there_is_used_and_nothing_is_installed() -> None:
    assert plan(Facts(docker=True, image=True, apt=True, root=True)) == (Step.IMAGE,)


def test_an_image_that_cannot_be_pulled_leaves_the_packages() -> None:
    assert plan(Facts(docker=True, apt=True, root=True)) == (Step.PULL, Step.APT)


def test_packages_need_root_or_a_sudo_that_asks_nothing() -> None:
    assert plan(Facts(apt=True)) == ()
    assert plan(Facts(apt=True, sudo=True)) == (Step.APT,)


def test_homebrew_is_not_run_as_root() -> None:
    assert plan(Facts(brew=True)) == (Step.BREW,)
    assert plan(Facts(brew=True, root=True)) == ()


def test_a_bare_machine_has_no_way() -> None:
    assert plan(Facts()) == ()


def test_where_a_server_is_needed_docker_does_not_count() -> None:
    facts = Facts(url=True, docker=True, image=True, apt=True, root=True)
    assert plan(facts, Need.SERVER) == (Step.APT,)


@given(facts=_ANY_FACTS, need=st.sampled_from(Need))
def test_nothing_is_installed_where_a_broker_is_at_hand(facts: Facts, need: Need) -> None:
    at_hand = (
        (facts.url and need is Need.ANY)
        or facts.server
        or (facts.docker and facts.image and need is not Need.SERVER)
    )
    steps = plan(facts, need)
    assert at_hand == (len(steps) == 1 and steps[0] in {Step.URL, Step.SERVER, Step.IMAGE})


@given(facts=_ANY_FACTS, need=st.sampled_from(Need))
def test_no_way_is_tried_twice(facts: Facts, need: Need) -> None:
    steps = plan(facts, need)
    assert len(set(steps)) == len(steps)
