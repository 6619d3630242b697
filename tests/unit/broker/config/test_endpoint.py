from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config.endpoint import Endpoint, parse_endpoint, parse_endpoints, shown

SECRET = "canary"


def amqp(**parts: object) -> Endpoint:
    base = {
        "scheme": "amqp",
        "host": "h",
        "port": 5672,
        "username": "guest",
        "password": "guest",
        "vhost": "/",
    }
    return Endpoint(**{**base, **parts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://h", amqp()),
        ("amqp://h/", amqp()),
        ("amqp://h//", amqp()),
        ("amqp://h/%2F", amqp()),
        ("amqp://h/%2f", amqp()),
        ("  amqp://h/\n", amqp()),
        ("AMQP://H/", amqp()),
        ("amqp://h:/", amqp()),
        ("amqp://h:1/", amqp(port=1)),
        ("amqp://h:65535/", amqp(port=65535)),
        ("amqps://h", amqp(scheme="amqps", port=5671)),
        ("amqps://h:5672", amqp(scheme="amqps")),
        ("amqp://h/v", amqp(vhost="v")),
        ("amqp://h/a%2Fb", amqp(vhost="a/b")),
        ("amqp://h/%C3%A4", amqp(vhost="ä")),
        ("amqp://u:p@h", amqp(username="u", password="p")),
        ("amqp://u:@h", amqp(username="u", password="")),
        ("amqp://u:p:q@h", amqp(username="u", password="p:q")),
        ("amqp://u:p@q@h", amqp(username="u", password="p@q")),
        ("amqp://u%40x:%2F%3F%23%25@h", amqp(username="u@x", password="/?#%")),
        ("amqp://a+b:c+d@h", amqp(username="a+b", password="c+d")),
        ("amqp://u:p@h/v@w", amqp(username="u", password="p", vhost="v@w")),
        ("amqp://my_broker-1.local", amqp(host="my_broker-1.local")),
        ("amqp://127.0.0.1:5673", amqp(host="127.0.0.1", port=5673)),
        ("amqp://[::1]", amqp(host="::1")),
        ("amqp://[2001:DB8::0:1]:5673/v", amqp(host="2001:db8::1", port=5673, vhost="v")),
        ("amqp://[fe80::1%25eth0]/", amqp(host="fe80::1%eth0")),
    ],
)
def test_a_url_is_read_into_its_parts(url: str, expected: Endpoint) -> None:
    assert parse_endpoint(url) == expected


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", "not a URL"),
        ("h", "not a URL"),
        ("canary", "not a URL"),
        ("u:canary@h", "not a URL"),
        ("http://u:canary@h", "the scheme 'http' is not amqp or amqps"),
        ("u:canary://h", "the scheme is not amqp"),
        ("amqp://", "names no host"),
        ("amqp:///v", "names no host"),
        ("amqp://u:canary@", "names no host"),
        ("amqp://u:canary@:5672", "names no host"),
        ("amqp://u:canary", "the port"),
        ("amqp://u:canary/", "the port"),
        ("amqp://u:canary@h:0", "the port"),
        ("amqp://u:canary@h:65536", "the port"),
        ("amqp://u:canary@h:-1", "the port"),
        ("amqp://u:canary@h:٣", "the port"),
        ("amqp://u:can/canary@h", "an @ stands after the first /"),
        ("amqp://u:can/ary/canary@h", "an @ stands after the first /"),
        ("amqp://u:5/canary@h", "an @ stands after the first /"),
        ("amqp://u:can?canary@h", "stands before the @"),
        ("amqp://u:can#canary@h", "stands before the @"),
        ("amqp://u:pass?canary=1", "the port"),
        ("amqp://u:1?canary", "something follows"),
        ("amqp://u:can ary@h", "space or control"),
        ("amqp://u:canary\n@h", "space or control"),
        ("amqp://u:canary%@h", "% without two hex digits stands in the password"),
        ("amqp://u:canary%zz@h", "% without two hex digits stands in the password"),
        ("amqp://u:canary%ff@h", "the password of the URL is not UTF-8"),
        ("amqp://u:canary%00@h", "zero byte"),
        ("amqp://u:canary\udcff@h", "the password of the URL is not UTF-8"),
        ("amqp://canary@h", "both a user and a password"),
        ("amqp://:canary@h", "both a user and a password"),
        ("amqp://@h", "both a user and a password"),
        ("amqp://u:canary@[::z]", "not an IPv6 address"),
        ("amqp://u:canary@[127.0.0.1]", "not an IPv6 address"),
        ("amqp://u:canary@[::1", "the host"),
        ("amqp://u:canary@[::1]x", "the host"),
        ("amqp://u:canary@::1", "names no host"),
        ("amqp://u:canary@h!", "the host"),
        ("amqp://u:canary@ä", "the host"),
        ("amqp://u:canary@a,amqp://u:canary@b", "comma"),
        ("amqp://a,b", "several URLs as a list"),
        ("amqp://u:canary@h/a/b", "bare / in it"),
        ("amqp://u:canary@h/%", "stands in the virtual host"),
        ("amqp://u:canary@h/" + "v" * 256, "255 bytes"),
        ("amqp://u:canary@h/v?heartbeat=10", r"has options \(heartbeat\)"),
        ("amqp://u:canary@h?a=1&b=2", r"has options \(a, b\)"),
        ("amqp://u:canary@h#x", "something follows"),
    ],
)
def test_a_wrong_url_says_which_part_is_wrong_what_to_do_and_never_the_password(url: str, part: str) -> None:
    with pytest.raises(ValueError, match=part) as raised:
        parse_endpoint(url)
    assert SECRET not in str(raised.value)
    assert str(raised.value).endswith(".")
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None or raised.value.__suppress_context__


@given(
    st.text(alphabet="canry:/@?#[]%,=&. \\;'\"0", max_size=12), st.text(alphabet=":/@?#[]%,=&. h0", max_size=12)
)
def test_no_url_with_a_password_leaks_it_however_broken_it_is(before: str, after: str) -> None:
    secret = "Zx7Kq9Wm"
    for url in (f"amqp://u:{before}{secret}{after}@h/", f"{before}://u:{secret}{after}@h", f"u:{secret}@{after}"):
        assert secret not in everything_said_about(url)


def everything_said_about(url: str) -> str:
    try:
        endpoint = parse_endpoint(url)
    except ValueError as error:
        return f"{error}{error!r}"
    return f"{endpoint}{endpoint!r}{endpoint.redacted}"


def test_an_endpoint_shows_everything_but_its_password() -> None:
    endpoint = parse_endpoint("amqps://us%40er:can%61ry@[::1]:5673/a%2Fb")
    assert endpoint.password == SECRET
    assert str(endpoint) == f"{endpoint}" == endpoint.redacted == "amqps://us%40er:***@[::1]:5673/a%2Fb"
    assert SECRET not in repr(endpoint)
    assert str(parse_endpoint("amqp://h")) == "amqp://guest:***@h:5672/"


@pytest.mark.parametrize("url", ["amqp://u:p@h/v", "amqps://[fe80::1%25eth0]:1/%2F", "amqp://%40:%3A@h/%3F"])
def test_what_is_shown_can_be_read_again_apart_from_the_password(url: str) -> None:
    endpoint = parse_endpoint(url)
    assert str(parse_endpoint(str(endpoint))) == str(endpoint)


def test_endpoints_that_differ_only_in_the_password_differ() -> None:
    assert parse_endpoint("amqp://u:a@h") != parse_endpoint("amqp://u:b@h")


def test_a_comma_separated_list_is_read_in_order_and_skips_empty_places() -> None:
    assert [e.host for e in parse_endpoints(" amqp://a, amqps://b:1/v ,,amqp://c,")] == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_a_list_without_a_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="there is no URL"):
        parse_endpoints(text)


def test_one_wrong_url_makes_the_whole_list_wrong_without_a_leak() -> None:
    with pytest.raises(ValueError, match="the port") as raised:
        parse_endpoints("amqp://a,amqp://u:canary@h:x")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("queue_x", "'queue_x'"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"a": SECRET}, "this"),
        ([SECRET], "this"),
        ("a\nb\x1b\udcff", r"'a\nb\x1b\udcff'"),
        ("x" * 1000, "'" + "x" * 75 + "…'"),
    ],
)
def test_values_in_messages_are_short_and_on_one_line(value: object, expected: str) -> None:
    assert shown(value) == expected


@pytest.mark.parametrize("value", ["amqp://u:canary@h", "u:canary@h", "amqp://canary"])
def test_values_that_may_hold_a_password_are_not_shown(value: str) -> None:
    assert SECRET not in shown(value)
