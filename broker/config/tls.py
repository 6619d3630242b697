"""TLS to the broker: the files it is made from, and what it means when it fails.

The broker's certificate and its name are always verified: no key and no URL turns that off.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

from pydantic import model_validator

from broker.config.endpoint import Endpoint
from broker.config.section import Section
from broker.errors import ConfigError, Untrusted

#: OpenSSL's name for a failure, in the text of an error.
_REASON = re.compile(r"\[SSL: (\w+)\]")
#: Parts of OpenSSL's words for a peer that answers with something else, and for one that offers only what is old.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_TOO_OLD = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "VERSION_TOO_LOW")
#: OpenSSL's numbers for why a certificate is not accepted (x509_vfy.h), which Python does not name.
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED = 9, 10, 18
#: A wrong signature (an authority of the same name), an unknown root, an unknown issuer, an unverified leaf.
_UNKNOWN_ISSUERS = {7, 19, 20, 21}
#: The host's name, and its address.
_OTHER_NAMES = {62, 64}


class TlsSettings(Section):
    """Files for ``amqps`` and ``https``, relative to the current folder.

    Without ``ca_file`` the system's authorities are trusted.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _pair(self) -> TlsSettings:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together. Give both, or neither.")
        return self


def tls_context(files: TlsSettings) -> ssl.SSLContext:
    """TLS 1.2 or later that verifies certificate and name.

    Raises ``ConfigError`` that names each file that cannot be used, with its key. Like ssh it refuses a key file
    that is ours and that others may read or change.
    """
    problems = list(_problems(files))
    if problems:
        raise ConfigError(problems)
    context = ssl.create_default_context(cafile=files.ca_file)
    # A system's OpenSSL may be set up for less.
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    if files.cert_file is not None:
        context.load_cert_chain(files.cert_file, files.key_file)
    return context


def is_in_the_open(endpoint: Endpoint) -> bool:
    """Whether its password and messages leave this machine unencrypted."""
    if endpoint.scheme == "amqps" or endpoint.host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        return True


def untrusted(error: BaseException, where: str) -> Untrusted:
    """What a failure of TLS means, and what to do. ``error`` is an ``SSLError``, or holds the text of one.

    ``where`` holds no password.
    """
    return Untrusted(f"{where}: TLS failed: {_meaning(error)}")


def _problems(files: TlsSettings) -> Iterator[str]:
    if files.ca_file is not None and (problem := _bad_certificate(files.ca_file)):
        yield f"broker.tls.ca_file: {files.ca_file} {problem}"
    if files.cert_file is None or files.key_file is None:
        return
    if problem := _bad_certificate(files.cert_file):
        yield f"broker.tls.cert_file: {files.cert_file} {problem}"
    elif problem := _bad_key(files.key_file, files.cert_file):
        yield f"broker.tls.key_file: {files.key_file} {problem}"


def _bad_certificate(file: Path) -> str | None:
    try:
        file.open("rb").close()
        _spare().load_verify_locations(file)
    except ssl.SSLError:
        return "holds no certificate. Give a PEM file with BEGIN CERTIFICATE in it."
    except OSError as error:
        return _unreadable(error)
    return None


def _bad_key(file: Path, certificate: Path) -> str | None:
    try:
        status = file.stat()
        if status.st_uid == os.getuid() and status.st_mode & 0o077:
            return f"can be read or changed by others (mode {status.st_mode & 0o777:03o}). Run chmod 600 on it."
        file.open("rb").close()
        # Without a passphrase of ours, OpenSSL would ask for one on the terminal.
        _spare().load_cert_chain(certificate, file, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"is not the key of {certificate}. Give the two that belong together."
        return "holds no private key, or one with a passphrase. Give a PEM file with a key that has none."
    except OSError as error:
        return _unreadable(error)
    return None


def _spare() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}. Check the name, and who may read it."


def _meaning(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_accepted(getattr(error, "verify_code", 0), getattr(error, "verify_message", str(error)))
    named = _REASON.search(str(error))
    reason = named[1] if named else str(error)
    if any(word in reason for word in _NOT_TLS):
        return "nobody speaks TLS on this port. Use the port of the broker's TLS listener, mostly 5671."
    if any(word in reason for word in _TOO_OLD):
        return "the broker offers no TLS from version 1.2 on. Allow 1.2 or 1.3 there (ssl_options.versions)."
    if "ALERT" in reason:
        return (
            f"the broker refused our certificate or misses one ({reason}). Check broker.tls.cert_file and "
            "key_file, and which authorities the broker trusts (ssl_options.cacertfile)."
        )
    return f"{reason}. Check broker.tls, and the broker's log."


def _not_accepted(code: int, message: str) -> str:
    if code in _OTHER_NAMES:
        what = message.partition(", ")[2].rstrip(".") or "certificate is for another name"
        return f"the broker's {what}. Use a name that stands in it, or have it issued for this one."
    if code == _EXPIRED:
        return "the broker's certificate has expired. Renew it there, and check this machine's clock."
    if code == _NOT_YET_VALID:
        return "the broker's certificate is not valid yet. Check the clocks here and there."
    if code == _SELF_SIGNED:
        return "the broker's certificate is self-signed. To trust it, name a copy of it in broker.tls.ca_file."
    if code in _UNKNOWN_ISSUERS:
        return "no authority that is trusted here issued the broker's certificate. Name it in broker.tls.ca_file."
    return f"the broker's certificate is not accepted ({message}). Check it there."
