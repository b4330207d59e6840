"""A bare device becomes one of ours by a claim, and stays it: renewal at two thirds of a certificate's life."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from cryptography import x509

from edge_agent import certificates
from edge_agent.claim import Claim
from edge_agent.device import est
from edge_agent.device.identity import Home, Identity, clone
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """How the identity stands now; `config` is what the site wants this device to run."""

    state: str  # "enrolled", "renewed" or "current"
    device: str
    board: str
    serial: str
    not_after: str
    renew_at: str
    brokers: tuple[str, ...] = ()
    config: str | None = None


def enrol(
    claim: Claim, identity: Identity, *, device: str, board: str, now: Callable[[], datetime]
) -> Enrolled | Refusal:
    """Become what the claim says. Again after a kill at any point: the same key asks, and gets the same certificate.

    `device` is what the configuration calls it; empty where the claim is to say so. A device that is enrolled with this
    CA already is left as it is.
    """
    with identity.locked():
        home = identity.home()
        if not _is_done(claim, identity, device, board, now()):
            if isinstance(fault := identity.fault(board, now()), Refusal):
                return fault
            if refusal := _claim(claim, identity, device, board, now):
                return refusal
            home = None
        held = identity.certificate()
        assert held is not None
        if home is not None and home.told:
            return _told("current", held, home)
        trust = est.Trust(identity.roots(), lambda: max(now(), held.not_valid_before_utc))
        told = est.site((claim.host, claim.port), trust, (identity.cert_file, identity.key_file))
        home = Home(
            **_place(claim),
            told=True,
            brokers=told.brokers,
            config=told.config,
        )
        identity.write(identity.home_file, msgspec.json.encode(home))
        return _told("enrolled", held, home)


def _is_done(claim: Claim, identity: Identity, device: str, board: str, now: datetime) -> bool:
    """Whether this device holds what the claim would bring, so that nothing is to be asked for."""
    held, home = identity.certificate(), identity.home()
    if held is None or home is None or home.ca_sha256 != claim.ca_sha256:
        return False
    return identity.fault(board, now) is None and device in ("", certificates.name(held.subject)[0])


def _claim(claim: Claim, identity: Identity, device: str, board: str, now: Callable[[], datetime]) -> Refusal | None:
    """Ask with our key, judge the answer, keep it: the CA, the place, and last the certificate."""
    key, where = identity.key(), (claim.host, claim.port)
    roots = est.pinned_roots(*where, claim.ca_sha256)
    if isinstance(roots, Refusal):
        return roots
    trust = est.Trust(roots, lambda: max(now(), roots[0].not_valid_before_utc))
    made = est.enrol(where, trust, (device, claim.code), certificates.request(key, device, board))
    if isinstance(made, Refusal):
        return made
    if refusal := _unfit(made, key, roots, device, trust.now()):
        return refusal
    identity.write(identity.ca_file, certificates.pem(roots))
    identity.write(identity.home_file, msgspec.json.encode(Home(**_place(claim))))
    identity.write(identity.cert_file, certificates.pem([made]))
    return None


def renew(identity: Identity, *, board: str, now: Callable[[], datetime], force: bool = False) -> Enrolled | Refusal:
    """A new certificate for the same key, when two thirds of the life of the old one are over."""
    with identity.locked():
        held, home = identity.certificate(), identity.home()
        if held is None or home is None:
            raise DriverError(f"{identity.folder}: this device is not enrolled; edge-agent enrol --claim CODE")
        if isinstance(fault := identity.fault(board, now()), Refusal):
            return fault
        if fault is not None:
            raise DriverError(f"{identity.cert_file}: {fault}; enrol anew with a claim")
        if not force and now() < certificates.renew_at(held):
            return _told("current", held, home)
        device, enrolled_on = certificates.name(held.subject)
        if enrolled_on != board:  # a board that told no serial when it was enrolled, or tells none now
            return clone(device, enrolled_on or "no serial", board or "no serial")
        key, where, trust = identity.key(), (home.host, home.port), est.Trust(identity.roots(), now)
        roots = est.known_roots(where, trust) or trust.roots
        both = [*trust.roots, *(one for one in roots if one not in trust.roots)]
        files = (identity.cert_file, identity.key_file)
        made = est.renew(where, trust._replace(roots=both), files, certificates.request(key, device, board))
        if isinstance(made, Refusal):
            return made
        if refusal := _unfit(made, key, both, device, now()):
            return refusal
        # The CA may be changing its key. Its new certificate goes before what it issued, its old one after.
        for file, held_there in ((identity.ca_file, both), (identity.cert_file, [made]), (identity.ca_file, roots)):
            if file == identity.cert_file or identity.roots() != held_there:
                identity.write(file, certificates.pem(held_there))
        return _told("renewed", made, home)


def _unfit(
    made: x509.Certificate, key: certificates.Key, roots: list[x509.Certificate], device: str, now: datetime
) -> Refusal | None:
    """What was issued is judged before it is kept: our key, our name, our CA, valid now."""
    named = certificates.name(made.subject)[0]
    if certificates.key_id(made) != certificates.key_id(key.public_key()):
        return Refusal(gate="certificate", reason="the CA issued it for another key")
    if device and named != device:
        return Refusal(gate="certificate", reason="the CA issued it for another device", value=named, limit=device)
    fault = certificates.chain_fault(made, roots, max(now, made.not_valid_before_utc))
    return None if fault is None else Refusal(gate="certificate", reason=fault)


def _place(claim: Claim) -> dict[str, Any]:
    return {"host": claim.host, "port": claim.port, "ca_sha256": claim.ca_sha256}


def _told(state: str, held: x509.Certificate, home: Home) -> Enrolled:
    device, board = certificates.name(held.subject)
    return Enrolled(
        state=state,
        device=device,
        board=board,
        serial=f"{held.serial_number:x}",
        not_after=f"{held.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        renew_at=f"{certificates.renew_at(held):%Y-%m-%dT%H:%M:%SZ}",
        brokers=home.brokers,
        config=home.config,
    )
