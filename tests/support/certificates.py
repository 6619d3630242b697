"""Certificates for one test, good and bad, and the files that a broker and a client read them from."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)
_NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str = "server", key_mode: int = 0o600) -> tuple[Path, Path]:
        """Write ``NAME.pem`` and ``NAME.key``, over what is there."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        key.chmod(key_mode)
        return certificate, key

    def locked(self, passphrase: str) -> Pair:
        """The same with a key that takes a passphrase to read."""
        key = serialization.load_pem_private_key(self.key, None)
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
        return Pair(
            self.certificate,
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption),
        )


class Authority:
    """Issues certificates. Two authorities of one name are as different as any two."""

    def __init__(self, name: str = "test authority") -> None:
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        key_usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            _builder(self._name, self._name, self._key, _NOW - _DAY, _NOW + _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, begins: datetime = _NOW - _DAY, ends: datetime = _NOW + _DAY) -> Pair:
        """A certificate for host names and addresses; without any it is a client's."""
        return _issued(self._name, self._key, names, begins, ends)

    def expired(self, *names: str) -> Pair:
        return self.issue(*names, begins=_NOW - 2 * _DAY, ends=_NOW - _DAY)

    def early(self, *names: str) -> Pair:
        """One that is valid from tomorrow on."""
        return self.issue(*names, begins=_NOW + _DAY, ends=_NOW + 2 * _DAY)

    def write(self, file: Path) -> Path:
        file.write_bytes(self.pem)
        return file


def self_signed(*names: str) -> Pair:
    return _issued(None, None, names, _NOW - _DAY, _NOW + _DAY)


def _issued(
    issuer: x509.Name | None,
    issuer_key: ec.EllipticCurvePrivateKey | None,
    names: tuple[str, ...],
    begins: datetime,
    ends: datetime,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _named(names[0] if names else "client")
    signing = issuer_key or key
    builder = _builder(subject, issuer or subject, key, begins, ends).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    certificate = builder.sign(signing, hashes.SHA256())
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
