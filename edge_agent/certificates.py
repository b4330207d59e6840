"""X.509 as devices and their CA use it: keys, requests, chains, lifetimes, certs-only PKCS #7. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs7,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey
FOR_EVER = datetime.max.replace(tzinfo=UTC)
BACKDATED = timedelta(minutes=5)  # for clocks that are a little behind


def new_key() -> Key:
    """A P-256 key: what every broker, proxy and secure element knows."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Key) -> bytes:
    """PKCS #8, not encrypted: the file's mode keeps it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(pem: bytes) -> Key:
    """The key in a PEM file; ValueError where it is none of ours."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    if not isinstance(key, Key):
        raise ValueError(f"it holds a {type(key).__name__}, an EC key is wanted")
    return key


def pem(certificates: Sequence[x509.Certificate]) -> bytes:
    """The certificates one after the other."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def load(pem: bytes) -> list[x509.Certificate]:
    """Every certificate of a PEM file; ValueError where there is none."""
    return list(x509.load_pem_x509_certificates(pem))


def sha256(certificate: x509.Certificate) -> str:
    """Its fingerprint: of the DER, 64 hex digits."""
    return certificate.fingerprint(SHA256()).hex()


def key_id(key: ec.EllipticCurvePublicKey | x509.Certificate | x509.CertificateSigningRequest) -> str:
    """SHA-256 of the public key (SubjectPublicKeyInfo): the same in a request and in what is issued for it."""
    public = key if isinstance(key, ec.EllipticCurvePublicKey) else key.public_key()
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def name(subject: x509.Name) -> tuple[str, str]:
    """Device id (CN) and board serial (serialNumber) of a subject; empty where it has none."""
    return _one(subject, NameOID.COMMON_NAME), _one(subject, NameOID.SERIAL_NUMBER)


def subject(device: str, board: str) -> x509.Name:
    """The name of a device on a board; what is empty is left out."""
    pairs = ((NameOID.COMMON_NAME, device), (NameOID.SERIAL_NUMBER, board))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in pairs if text])


def request(key: Key, device: str, board: str) -> bytes:
    """A PKCS #10 request (DER) for a device on a board; without `device`, whoever issues knows it by the claim."""
    made = x509.CertificateSigningRequestBuilder().subject_name(subject(device, board)).sign(key, SHA256())
    return made.public_bytes(Encoding.DER)


def load_request(der: bytes) -> x509.CertificateSigningRequest:
    """A request whose signature holds and whose key is of a kind we issue for; ValueError."""
    try:
        found = x509.load_der_x509_csr(der)
        public, sound = found.public_key(), found.is_signature_valid
    except (UnsupportedAlgorithm, InvalidSignature) as error:
        raise ValueError(str(error)) from None
    if not sound:
        raise ValueError("its signature does not hold: whoever sent it does not have the key")
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("an elliptic curve key is wanted (P-256)")
    return found


def self_signed(key: Key, common_name: str, now: datetime, days: int) -> x509.Certificate:
    """The certificate of a CA: it signs devices and servers, and no other CA."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return _ca(_builder(name, name, key.public_key(), now, days), key.public_key(), key)


def cross_signed(old: tuple[x509.Certificate, Key], new: x509.Certificate, now: datetime) -> x509.Certificate:
    """The new certificate of a CA by its old key: of one name, so that it counts for no step between the two."""
    root, key = old
    days = (new.not_valid_after_utc - now).days
    public = new.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)  # ours
    builder = _builder(new.subject, root.subject, public, now, days, at_most=root.not_valid_after_utc)
    return _ca(builder, public, key)


def vouched(found: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Those of a CA's certificates that may be trusted by whom trusts `roots`: itself, and its next (RFC 4210, 4.4)."""
    authorities = [one for one in found if _is_ca(one)]
    keys = {key_id(one) for one in authorities if any(_signed_by(one, root) for root in roots)}
    return [one for one in authorities if one in roots or (_signed_by(one, one) and key_id(one) in keys)]


def crl(authority: tuple[x509.Certificate, Key], revoked: Sequence[tuple[int, datetime]], now: datetime) -> bytes:
    """The list of these serial numbers, with when each was revoked, in PEM. It names its key: a CA may have two."""
    root, key = authority
    builder = x509.CertificateRevocationListBuilder().issuer_name(root.subject)
    builder = builder.last_update(now - BACKDATED).next_update(root.not_valid_after_utc)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(signer, critical=False)
    for serial, at in revoked:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
        builder = builder.add_revoked_certificate(one.build())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def issue(
    authority: tuple[x509.Certificate, Key],
    public: ec.EllipticCurvePublicKey,
    who: x509.Name,
    now: datetime,
    days: float,
    *,
    use: Literal["device", "server"] = "device",
    names: Sequence[x509.GeneralName] = (),
) -> x509.Certificate:
    """A certificate for a device (TLS client) or a server (with its `names`), never longer than the CA's own."""
    certificate, key = authority
    for_use = ExtendedKeyUsageOID.CLIENT_AUTH if use == "device" else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        _builder(who, certificate.subject, public, now, days, at_most=certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_cert_sign=False, crl_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([for_use]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, SHA256())


def renew_at(certificate: x509.Certificate) -> datetime:
    """When two thirds of its life are over."""
    began, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return began + (ends - began) * 2 / 3


def lifetime_fault(certificate: x509.Certificate, now: datetime) -> str | None:
    """Why it is not good at this time, by the clock that we have."""
    if now < certificate.not_valid_before_utc:
        return f"it is valid from {_day(certificate.not_valid_before_utc)} and the clock says {_day(now)}"
    if now > certificate.not_valid_after_utc:
        return f"it expired on {_day(certificate.not_valid_after_utc)} and the clock says {_day(now)}"
    return None


def chain_fault(certificate: x509.Certificate, roots: Sequence[x509.Certificate], now: datetime) -> str | None:
    """Why it is no good certificate of one of these CAs at this time; None where it is."""
    for root in roots:
        if _signed_by(certificate, root):
            return lifetime_fault(certificate, now) or lifetime_fault(root, now)
    known = ", ".join(sha256(root)[:16] + "…" for root in roots) or "none"
    return f"it was not issued by the CA that is trusted here (sha256 {known})"


def to_pkcs7(certificates: Sequence[x509.Certificate]) -> bytes:
    """Certs-only CMS in base64, as EST sends it (RFC 7030 section 4.1.3, RFC 8951 section 3.1)."""
    return base64.encodebytes(pkcs7.serialize_certificates(list(certificates), Encoding.DER))


def from_pkcs7(body: bytes) -> list[x509.Certificate]:
    """The certificates of an EST answer; ValueError."""
    try:
        return list(pkcs7.load_der_pkcs7_certificates(base64.b64decode(b"".join(body.split()), validate=True)))
    except (binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError(f"no PKCS #7 in base64: {error}") from None


def _builder(
    who: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime,
    days: float,
    *,
    at_most: datetime = FOR_EVER,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(min(now + timedelta(days=days), at_most))
    )


def _ca(builder: x509.CertificateBuilder, public: ec.EllipticCurvePublicKey, signer: Key) -> x509.Certificate:
    usage = _usage(key_cert_sign=True, crl_sign=True, digital_signature=False)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, SHA256())
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _signed_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _usage(*, digital_signature: bool, key_cert_sign: bool, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _one(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
