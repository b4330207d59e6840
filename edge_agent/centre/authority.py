"""A small CA for a site without one: who may claim which name, what was issued for it, what is revoked.

A directory holds its key, its certificate and `authority.db`. A claim is spent and its certificate recorded in one
transaction, before the answer leaves; the same key that asks again gets the same certificate, so
that an answer lost on the way (or to a power cut) costs nothing, and anybody else is told that the claim is spent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent import certificates, claim
from edge_agent.centre import rollover
from edge_agent.files import write_durably
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError

DAYS, SERVER_DAYS, CLAIM_HOURS = 60.0, 365, 24.0
BUSY_MS = 10_000
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS claim (
    digest TEXT PRIMARY KEY, device TEXT NOT NULL, board TEXT NOT NULL, not_after REAL NOT NULL,
    spent_at REAL, key_id TEXT, serial TEXT) STRICT;
CREATE TABLE IF NOT EXISTS certificate (
    serial TEXT PRIMARY KEY, device TEXT NOT NULL, board TEXT NOT NULL, key_id TEXT NOT NULL,
    issued_at REAL NOT NULL, not_after REAL NOT NULL, revoked_at REAL, der BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS refused (
    at REAL NOT NULL, device TEXT NOT NULL, gate TEXT NOT NULL, why TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS site (device TEXT PRIMARY KEY, config TEXT NOT NULL) STRICT;
"""


class Authority:
    """The CA in a directory; every method blocks. Several processes may use it: the database decides who is first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._ring = rollover.ring(folder)
            self._db = apsw.Connection(str(folder / "authority.db"))
            (folder / "authority.db").chmod(0o600)
            self._db.set_busy_timeout(BUSY_MS)
            self._db.transaction_mode = "IMMEDIATE"  # to read first and write later would fail where another writes
            self._db.execute(SCHEMA).fetchall()
        except (OSError, apsw.Error, ValueError) as error:
            raise DriverError(
                f"{folder}: no CA can be opened: {error}; `edge-agent centre ca init` makes one"
            ) from None

    @property
    def root(self) -> x509.Certificate:
        """The certificate that issues."""
        return self._ring.roots[0]

    @property
    def chain(self) -> list[x509.Certificate]:
        """What devices are told of this CA: what they may trust, and what vouches for it."""
        return [*self._ring.roots, *self._ring.cross]

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    @property
    def sha256(self) -> str:
        """What claims pin."""
        return certificates.sha256(self.root)

    @contextmanager
    def _commit(self) -> Generator[None, None, None]:
        """One transaction: all of it or nothing, also after a kill; DriverError where the disk fails."""
        try:
            with self._db:
                yield
        except apsw.Error as error:
            raise DriverError(f"{self.folder / 'authority.db'}: {error}; nothing was issued: free the disk") from None

    # --- claims ---------------------------------------------------------------------------------------------------

    def new_claim(self, device: str, board: str, now: datetime, hours: float = CLAIM_HOURS) -> str:
        """A code that makes one board `device`, once; with `board` only that one."""
        code = claim.new_code()
        self.admit(claim.digest(code), device, board, (now + timedelta(hours=hours)).timestamp())
        return code

    def admit(self, digest: str, device: str, board: str, not_after_s: float) -> None:
        """Take in a claim that was made elsewhere (on a laptop at the bench); one that is known stays as it is."""
        with self._commit():
            self._db.execute(
                "INSERT OR IGNORE INTO claim (digest, device, board, not_after) VALUES (?,?,?,?)",
                (digest, device, board, not_after_s),
            )

    def import_claims(self, file: Path) -> int:
        """The claims of a `claims.jsonl`, as `edge-agent fleet new` writes it; how many it holds."""
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DriverError(f"{file}: is no list of claims: {error}") from None
        found: list[tuple[str, str, str, float]] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                until_s = datetime.fromisoformat(row["not_after"]).timestamp()
                found.append((claim.sha256_hex(row["code_sha256"]), str(row["device"]), str(row["board"]), until_s))
            except (ValueError, KeyError, TypeError) as error:
                raise DriverError(f"{file}: line {number} is no claim: {error}; nothing was taken in") from None
        for one in found:
            self.admit(*one)
        return len(found)

    def enrol(self, device: str, code: str, csr: bytes, now: datetime) -> x509.Certificate | Refusal:
        """A certificate for whoever shows the claim of this device, once; ValueError where `csr` is no request."""
        request = certificates.load_request(csr)
        asked, board = certificates.name(request.subject)
        with self._commit():
            row = self._db.execute(
                "SELECT device, board, not_after, spent_at, key_id, serial FROM claim WHERE digest = ?",
                (claim.digest(code),),
            ).fetchone()
            found = self._judge(row, device, asked, board=board, key_id=certificates.key_id(request), now=now)
            if isinstance(found, Refusal):
                return self._refused(device or asked, found, now)
            owner, serial = found
            if serial is not None:
                again = self._issued(serial)
                refusal = self.refuses(again)
                return again if refusal is None else self._refused(owner, refusal, now)
            self._db.execute("UPDATE certificate SET revoked_at = ? WHERE device = ? AND revoked_at IS NULL",
                             (now.timestamp(), owner))  # fmt: skip
            made = self._issue(request, owner, board, now)
            self._db.execute(
                "UPDATE claim SET spent_at = ?, key_id = ?, serial = ? WHERE digest = ?",
                (now.timestamp(), certificates.key_id(request), f"{made.serial_number:x}", claim.digest(code)),
            )
            return made

    def _judge(
        self, row: Any, device: str, asked: str, *, board: str, key_id: str, now: datetime
    ) -> tuple[str, str | None] | Refusal:
        """The device that this claim is for, and the serial of what was issued for it to this very key."""
        if row is None:
            return Refusal(gate="claim", reason="nobody issued this claim here", remedy="scan the label again")
        owner, owner_board, until_s, spent_at, spent_key, serial = row
        for name in (device, asked):
            if name and name != owner:
                return Refusal(
                    gate="claim", reason="this claim is for another device", value=name, remedy="look at the label"
                )
        if owner_board and owner_board != board:
            return Refusal(
                gate="claim", reason="this claim is for another board", value=board or "no serial", limit=owner_board
            )
        if spent_at is not None and spent_key == key_id:
            return owner, serial
        remedy = "issue a new one: edge-agent centre ca claim"
        if spent_at is not None:
            when = datetime.fromtimestamp(spent_at, UTC)
            return Refusal(gate="claim", reason=f"this claim was used on {when:%Y-%m-%d %H:%M} UTC", remedy=remedy)
        if now.timestamp() > until_s:
            when = datetime.fromtimestamp(until_s, UTC)
            return Refusal(gate="claim", reason=f"this claim expired on {when:%Y-%m-%d %H:%M} UTC", remedy=remedy)
        return owner, None

    # --- certificates ---------------------------------------------------------------------------------------------

    def renew(self, shown: x509.Certificate, csr: bytes, now: datetime) -> x509.Certificate | Refusal:
        """A new certificate for the holder of one that is good; refused to another board: that is a clone."""
        request = certificates.load_request(csr)
        device, board = certificates.name(shown.subject)
        asked, asks_board = certificates.name(request.subject)
        with self._commit():
            refusal = self.refuses(shown)
            if refusal is None and (asked, asks_board) != (device, board):
                refusal = Refusal(
                    gate="clone",
                    reason=f"{device} was enrolled on another board",
                    value=f"{asked} on {asks_board or 'no serial'}",
                    limit=f"{device} on {board or 'no serial'}",
                    remedy="enrol this board with a claim of its own; if it replaces the other one, revoke that first",
                )
            if refusal is None and certificates.key_id(request) != certificates.key_id(shown):
                refusal = Refusal(gate="key", reason="a new key wants a new claim")
            if refusal is not None:
                return self._refused(device, refusal, now)
            return self._issue(request, device, board, now)

    def refuses(self, shown: x509.Certificate) -> Refusal | None:
        """Why nothing is done for the holder of this certificate."""
        row = self._db.execute(
            "SELECT revoked_at, der FROM certificate WHERE serial = ?", (f"{shown.serial_number:x}",)
        ).fetchone()
        # Byte for byte: whoever has a key of ours, the one that is being given up, could sign anything by that number.
        if row is None or row[1] != shown.public_bytes(Encoding.DER):
            return Refusal(gate="certificate", reason="this CA did not issue it", value=f"{shown.serial_number:x}")
        if row[0] is not None:
            return Refusal(gate="certificate", reason="it is revoked", remedy="enrol anew with a new claim")
        return None

    def revoke(self, device: str, now: datetime) -> int:
        """Take back every certificate of a device; how many."""
        with self._commit():
            self._db.execute(
                "UPDATE certificate SET revoked_at = ? WHERE device = ? AND revoked_at IS NULL",
                (now.timestamp(), device),
            )
            return self._db.changes()

    def crl(self, now: datetime) -> bytes:
        """The list of what is revoked, in PEM, for the broker (`crlfile`).

        It holds as long as the CA: a list that has expired lets nobody in at all, and nobody writes it anew by a clock.
        """
        rows: list[Any] = self._db.execute(
            "SELECT serial, revoked_at FROM certificate WHERE revoked_at IS NOT NULL"
        ).fetchall()
        revoked = [(int(serial, 16), datetime.fromtimestamp(at, UTC)) for serial, at in rows]
        return b"".join(certificates.crl(pair, revoked, now) for pair in self._ring.pairs)

    def server(self, names: list[x509.GeneralName], now: datetime) -> tuple[Path, Path]:
        """Certificate and key of our own server, made or renewed where that is due; DriverError."""
        cert_file, key_file = self.folder / "server.crt", self.folder / "server.key"
        try:
            if not self._serves(cert_file, key_file, names, now):
                for file, data in self.issue_server(names, now, self.folder).items():
                    write_durably(file, data)
        except (OSError, ValueError) as error:
            raise DriverError(f"{self.folder}: the server's certificate cannot be made: {error}") from None
        return cert_file, key_file

    def _serves(self, cert_file: Path, key_file: Path, names: list[x509.GeneralName], now: datetime) -> bool:
        """Whether this certificate carries these names, is of this key and chain, and is not to be renewed yet."""
        if not cert_file.exists() or not key_file.exists():
            return False
        found, *above = certificates.load(cert_file.read_bytes())
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        key = certificates.load_key(key_file.read_bytes())
        ours = certificates.key_id(found) == certificates.key_id(key.public_key()) and above == self._ring.cross
        good = certificates.chain_fault(found, [self.root], now) is None and now < certificates.renew_at(found)
        return ours and good and set(names) <= set(held)

    def issue_server(self, names: list[x509.GeneralName], now: datetime, folder: Path) -> dict[Path, bytes]:
        """`server.key` and `server.crt` of a server with these names, to be written into `folder`."""
        key = certificates.new_key()
        who = certificates.subject("edge-agent server", "")
        made = certificates.issue(
            self._ring.pairs[0], key.public_key(), who, now, SERVER_DAYS, use="server", names=names
        )
        chain = certificates.pem([made, *self._ring.cross])
        return {folder / "server.key": certificates.key_pem(key), folder / "server.crt": chain}

    # --- what a device gets with it, and what people look at ------------------------------------------------------

    def set_config(self, device: str, text: str) -> None:
        """The configuration that this device gets when it has enrolled."""
        with self._commit():
            self._db.execute("INSERT OR REPLACE INTO site VALUES (?,?)", (device, text))

    def config(self, device: str) -> str | None:
        """What `set_config` was told."""
        row = self._db.execute("SELECT config FROM site WHERE device = ?", (device,)).fetchone()
        return None if row is None else str(row[0])

    def devices(self) -> list[dict[str, Any]]:
        """Every certificate that is not revoked, the newest of each device."""
        rows: list[Any] = self._db.execute(
            "SELECT device, board, serial, max(not_after), issued_at FROM certificate WHERE revoked_at IS NULL"
            " GROUP BY device ORDER BY device"
        ).fetchall()
        keys = ("device", "board", "serial", "not_after", "issued_at")
        return [dict(zip(keys, (*row[:3], _rfc(row[3]), _rfc(row[4])), strict=True)) for row in rows]

    def left_behind(self, now: datetime) -> list[str]:
        """The devices whose newest certificate is good, and by the old key: they do not know the new one yet."""
        rows: list[Any] = self._db.execute(
            "SELECT device, der, max(issued_at) FROM certificate WHERE revoked_at IS NULL AND not_after > ?"
            " GROUP BY device ORDER BY device", (now.timestamp(),)
        ).fetchall()  # fmt: skip
        held = {device: x509.load_der_x509_certificate(der) for device, der, _ in rows}
        return [device for device, one in held.items() if certificates.chain_fault(one, [self.root], now)]

    def open_claims(self, now: datetime) -> list[str]:
        """The devices for which a claim is good and not used yet; which key it pins, its label alone knows."""
        rows: list[Any] = self._db.execute(
            "SELECT DISTINCT device FROM claim WHERE spent_at IS NULL AND not_after > ? ORDER BY device",
            (now.timestamp(),),
        ).fetchall()
        return [str(device) for (device,) in rows]

    def refusals(self, limit: int = 100) -> list[dict[str, Any]]:
        """Who was sent away, and why; clones among them. The newest first."""
        rows: Any = self._db.execute("SELECT at, device, gate, why FROM refused ORDER BY rowid DESC LIMIT ?", (limit,))
        return [{"at": _rfc(at), "device": device, "gate": gate, "why": why} for at, device, gate, why in rows]

    def _issue(
        self, request: x509.CertificateSigningRequest, device: str, board: str, now: datetime
    ) -> x509.Certificate:
        public: Any = request.public_key()
        made = certificates.issue(self._ring.pairs[0], public, certificates.subject(device, board), now, DAYS)
        self._db.execute(
            "INSERT INTO certificate (serial, device, board, key_id, issued_at, not_after, der) VALUES (?,?,?,?,?,?,?)",
            (
                *(f"{made.serial_number:x}", device, board, certificates.key_id(made), now.timestamp()),
                *(made.not_valid_after_utc.timestamp(), made.public_bytes(Encoding.DER)),
            ),
        )
        return made

    def _issued(self, serial: str) -> x509.Certificate:
        row = self._db.execute("SELECT der FROM certificate WHERE serial = ?", (serial,)).fetchone()
        assert row is not None
        return x509.load_der_x509_certificate(row[0])

    def _refused(self, device: str, refusal: Refusal, now: datetime) -> Refusal:
        """Write it down; what strangers can cause stays bounded, and does not drive the terminal that it is read on."""
        device, why = (CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text) for text in (device[:64], str(refusal)[:1000]))
        self._db.execute("INSERT INTO refused VALUES (?,?,?,?)", (now.timestamp(), device, refusal.gate, why))
        self._db.execute("DELETE FROM refused WHERE rowid <= (SELECT max(rowid) - 10000 FROM refused)")
        return refusal


def _rfc(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
