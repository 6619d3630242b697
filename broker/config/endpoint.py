"""Where a broker is and who we are there, read from an AMQP URL.

``amqp://user:password@host:5672/vhost``. The password is the one thing here that must never be shown, and a
URL that cannot be read does not say where its password is: no error of this module repeats any part of a URL
but its scheme and the names of its options.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote

_PORTS: dict[Literal["amqp", "amqps"], int] = {"amqp": 5672, "amqps": 5671}
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>.*))?", re.DOTALL)
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?")
_OPTION = re.compile(r"(?:^|&)([A-Za-z_]{1,40})=")
_SHAPE = "Write it like amqp://user:password@host:5672/vhost."
_ENCODE = "Write / ? # @ : % , and spaces in a user, password or vhost percent-encoded (/ is %2F, @ is %40)."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of the broker with login and virtual host. ``str`` and ``repr`` never hold the password."""

    scheme: Literal["amqp", "amqps"]
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    vhost: str

    @property
    def redacted(self) -> str:
        """The whole URL, with ``***`` for the password; the vhost ``/`` is written as an empty path."""
        host = f"[{quote(self.host, safe=':')}]" if ":" in self.host else self.host
        user, vhost = quote(self.username, safe=""), "" if self.vhost == "/" else quote(self.vhost, safe="")
        return f"{self.scheme}://{user}:***@{host}:{self.port}/{vhost}"

    @property
    def secret_url(self) -> str:
        """The whole URL with its password, for another process's environment and nothing else."""
        return self.redacted.replace(":***@", f":{quote(self.password, safe='')}@", 1)

    def __str__(self) -> str:
        return self.redacted


def parse_endpoint(url: str) -> Endpoint:
    """Read one AMQP URL.

    No port means 5672, or 5671 for ``amqps``; no login means guest:guest; no path, ``/`` and ``/%2F`` mean
    the virtual host ``/``. Raises ValueError, whose text says which part is wrong and holds no secret.
    """
    scheme, rest = _scheme(url.strip())
    if any(character <= " " or character == "\x7f" for character in rest):
        raise ValueError(f"a space or control character stands in the URL. {_ENCODE}")
    authority, path = _without_options(rest)
    if "@" in path and "@" not in authority:
        raise ValueError(f"an @ stands after the first / of the URL. {_ENCODE}")
    username, password = _login(authority)
    host, port = _host_and_port(authority.rpartition("@")[2])
    return Endpoint(scheme, host, port or _PORTS[scheme], username, password, _vhost(path))


def split_urls(comma_separated: str) -> list[str]:
    """The URLs of a comma-separated list, not yet read. A comma within one is written %2C."""
    return [url.strip() for url in comma_separated.split(",") if url.strip()]


def parse_endpoints(comma_separated: str) -> tuple[Endpoint, ...]:
    """Read a comma-separated list of AMQP URLs, at least one. Raises ValueError like ``parse_endpoint``."""
    endpoints = tuple(parse_endpoint(url) for url in split_urls(comma_separated))
    if not endpoints:
        raise ValueError(f"there is no URL. {_SHAPE}")
    return endpoints


def is_plain(name: str) -> bool:
    """Whether a name can be shown as it is: one word, and no piece of a URL."""
    return re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name) is not None


def shown(value: object) -> str:
    """``value`` for an error message: short, on one line, and withheld if it could be (a piece of) a URL."""
    if isinstance(value, dict | list):
        return "this"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = repr(value)
    if "@" in text or "://" in text:
        return "this value (not shown, as it may hold a password)"
    return text if len(text) <= 80 else f"{text[:76]}…{text[-1]}"


def _scheme(url: str) -> tuple[Literal["amqp", "amqps"], str]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(f"this is not a URL. {_SHAPE}")
    lowered = scheme.lower()
    if lowered == "amqp":
        return "amqp", rest
    if lowered == "amqps":
        return "amqps", rest
    named = f" '{scheme}'" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,20}", scheme) else ""
    raise ValueError(f"the scheme{named} is not amqp or amqps. {_SHAPE}")


def _without_options(rest: str) -> tuple[str, str]:
    """Authority and path; what follows ``?`` or ``#`` is refused, and named only if it is no secret."""
    place, *tail = re.split(r"[?#]", rest, maxsplit=1)
    if tail and "@" in tail[0]:
        raise ValueError(f"a ? or # stands before the @ of the URL. {_ENCODE}")
    authority, _, path = place.partition("/")
    if tail:
        _host_and_port(authority.rpartition("@")[2])  # without an @ the "option" may be the end of a password
        options = ", ".join(_OPTION.findall(tail[0]))
        what = f"the URL has options ({options})" if options else "something follows a ? or # in the URL"
        raise ValueError(f"{what}. Leave it out: the other keys under broker take its place.")
    return authority, path


def _login(authority: str) -> tuple[str, str]:
    login, at, _ = authority.rpartition("@")
    if not at:
        return "guest", "guest"
    username, colon, password = login.partition(":")
    if not username or not colon:
        raise ValueError(f"the URL needs both a user and a password before the @, or neither. {_SHAPE}")
    return _decoded(username, "user"), _decoded(password, "password")


def _host_and_port(text: str) -> tuple[str, int | None]:
    parts = _HOST_PORT.fullmatch(text)
    if parts is None:
        raise ValueError(f"the host of the URL is not a name or address (IPv6: in [ ]). {_ENCODE}")
    return _host(parts["v6"], parts["name"]), _port(parts["port"])


def _host(v6: str | None, name: str | None) -> str:
    if v6 is not None:
        try:
            return str(ipaddress.IPv6Address(unquote(v6)))
        except ValueError:
            raise ValueError("what stands in [ ] is not an IPv6 address. Write it like [::1].") from None
    if not name:
        raise ValueError(f"the URL names no host. {_SHAPE}")
    if "," in name:
        raise ValueError("a comma stands in the host. Write several URLs as a list, [url, url].")
    if not _HOST_NAME.fullmatch(name):
        raise ValueError(f"the host of the URL is not a name or address (IPv6: in [ ]). {_ENCODE}")
    return name.lower()


def _port(text: str | None) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"the port of the URL is not a number from 1 to 65535. {_ENCODE}")
    return int(text)


def _vhost(path: str) -> str:
    if path in ("", "/"):
        return "/"
    if "/" in path:
        raise ValueError("the virtual host of the URL has a bare / in it. Write it as %2F.")
    vhost = _decoded(path, "virtual host")
    if len(vhost.encode()) > 255:
        raise ValueError("the virtual host of the URL is longer than AMQP's 255 bytes. Use a shorter one.")
    return vhost


def _decoded(text: str, what: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"a % without two hex digits stands in the {what} of the URL. Write % as %25.")
    try:
        decoded = unquote(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise ValueError(f"the {what} of the URL is not UTF-8. {_ENCODE}") from None
    if "\0" in decoded:
        raise ValueError(f"the {what} of the URL has a zero byte in it. AMQP cannot carry that: remove it.")
    return decoded
