"""Enrolment against the small CA over TLS: claims good and bad, another CA, clones, renewal, a kill at every write."""

import asyncio
import json
import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import apsw
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from edge_agent import certificates
from edge_agent.centre import authority, rollover
from edge_agent.centre import est as est_server
from edge_agent.centre.est import EstServer
from edge_agent.claim import Claim, digest, new_code
from edge_agent.cli import main
from edge_agent.device import enrol, est
from edge_agent.device.enrol import Enrolled
from edge_agent.device.identity import Identity
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError

LOOPBACK = "127.0.0.1"


class Site:
    """A CA that serves, with a clock that a test may turn."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.at = datetime.now(UTC)
        if not folder.exists():
            rollover.make(folder, "a CA", self.at - timedelta(days=30))
        self.ca = authority.Authority(folder)
        self.port = port

    def now(self) -> datetime:
        return self.at

    def claim(self, device: str, board: str = "", hours: float = 24) -> Claim:
        code = self.ca.new_claim(device, board, self.at, hours)
        return Claim(host=LOOPBACK, port=self.port, ca_sha256=self.ca.sha256, code=code)

    def enrol(self, claim: Claim, identity: Identity, device: str = "", board: str = "B1") -> Enrolled | Refusal:
        return enrol.enrol(claim, identity, device=device, board=board, now=self.now)

    @contextmanager
    def serving(self) -> Iterator[None]:
        ready, loop = threading.Event(), asyncio.new_event_loop()

        def on_ready(port: int) -> None:
            self.port = port
            ready.set()

        names = [x509.IPAddress(ip_address(LOOPBACK))]
        server = EstServer(
            self.ca, (LOOPBACK, self.port), names, brokers=("mqtt:8883",), wall=self.now, on_ready=on_ready
        )
        task = loop.create_task(server.run())

        def run() -> None:
            try:
                loop.run_until_complete(task)
            except asyncio.CancelledError:
                pass

        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(30)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(30)
            loop.close()


class Killed(BaseException):
    """The power went."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site") / "ca")
    with made.serving():
        yield made
    made.ca.close()


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Identity(tmp_path / "identity")


def test_a_bare_device_gets_its_name_its_certificate_and_its_brokers(site: Site, identity: Identity) -> None:
    site.ca.set_config("D-1", "a config")
    got = site.enrol(site.claim("D-1", "B1"), identity)
    assert isinstance(got, Enrolled)
    assert (got.state, got.device, got.board, got.brokers, got.config) == (
        "enrolled",
        "D-1",
        "B1",
        ("mqtt:8883",),
        "a config",
    )
    assert identity.fault("B1", site.at) is None
    assert {path.stat().st_mode & 0o777 for path in identity.folder.iterdir()} == {0o600}
    held = identity.certificate()
    assert held is not None
    assert certificates.renew_at(held) - site.at == pytest.approx(timedelta(days=40), abs=timedelta(hours=1))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root enrols for another account")
def test_a_device_that_root_enrols_is_the_agent_s_to_renew(site: Site, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, 65534, 65534)
    where = ("--data-dir", str(data_dir), "-c", str(tmp_path / "agent.toml"))
    assert main(["enrol", "--claim", str(site.claim("D-8")), *where]) == 0
    found = {path.name: path.stat().st_uid for path in data_dir.rglob("*")}
    assert {"identity", "lock", "clock", "device.key", "device.crt"} <= set(found)
    assert set(found.values()) == {65534}


def test_a_claim_is_good_once_and_for_its_own_key_again(site: Site, identity: Identity, tmp_path: Path) -> None:
    claim = site.claim("D-2")
    first = site.enrol(claim, identity)
    identity.cert_file.unlink()  # the answer was lost on the way, or with the power
    again = site.enrol(claim, identity)
    assert isinstance(first, Enrolled) and isinstance(again, Enrolled) and first.serial == again.serial
    replayed = site.enrol(claim, Identity(tmp_path / "thief"))
    assert isinstance(replayed, Refusal) and "was used on" in str(replayed)
    assert any("was used on" in one["why"] for one in site.ca.refusals())


@pytest.mark.parametrize(
    ("made", "used", "why"),
    [
        (("D-3", ""), ("D-4", "B1"), "another device"),
        (("D-3", "B7"), ("", "B1"), "another board"),
        (("D-3", ""), ("", "B1"), "nobody issued"),
        (("D-3", ""), ("", "B1"), "expired on"),
    ],
)
def test_a_foreign_or_expired_claim_is_refused_and_leaves_no_certificate(
    site: Site, identity: Identity, made: tuple[str, str], used: tuple[str, str], why: str
) -> None:
    claim = site.claim(*made, hours=1e-9 if why == "expired on" else 24)
    site.at += timedelta(seconds=1)
    if why == "nobody issued":
        claim = Claim(host=claim.host, port=claim.port, ca_sha256=claim.ca_sha256, code=new_code())
    found = site.enrol(claim, identity, *used)
    assert isinstance(found, Refusal) and why in str(found)
    assert not identity.cert_file.exists()
    assert isinstance(site.enrol(site.claim("D-3"), identity), Enrolled), "a good claim is good after a bad one"


def test_what_a_stranger_calls_itself_does_not_drive_the_terminal_that_it_is_read_on(
    site: Site, identity: Identity
) -> None:
    csr = certificates.request(certificates.new_key(), "D-3", "")
    found = site.ca.enrol("\x1b]0;owned\x07", new_code(), csr, site.at)
    assert isinstance(found, Refusal)
    (told,) = site.ca.refusals(1)
    assert "owned" in told["device"] and (told["device"] + told["why"]).isprintable()
    answered = site.enrol(site.claim("D-3"), identity, "\x1b[2Jother")
    assert isinstance(answered, Refusal) and "other" in str(answered) and str(answered).isprintable()


def test_the_list_of_the_revoked_locks_nobody_out_by_its_age(site: Site, identity: Identity) -> None:
    assert isinstance(site.enrol(site.claim("D-7"), identity), Enrolled)
    assert site.ca.revoke("D-7", site.at) == 1
    listed = x509.load_pem_x509_crl(site.ca.crl(site.at))
    held = identity.certificate()
    assert held is not None
    assert listed.get_revoked_certificate_by_serial_number(held.serial_number) is not None
    assert listed.next_update_utc == site.ca.root.not_valid_after_utc


def test_a_list_of_claims_is_taken_in_as_a_whole_or_not_at_all(site: Site, tmp_path: Path) -> None:
    code = new_code()
    good = {"device": "D-6", "board": "", "code_sha256": digest(code), "not_after": f"{site.at + timedelta(1):%FT%TZ}"}
    (tmp_path / "claims.jsonl").write_text(f"{json.dumps(good)}\n\n{{}}\n")
    with pytest.raises(DriverError, match=r"claims.jsonl: line 3 is no claim: .*nothing was taken in"):
        site.ca.import_claims(tmp_path / "claims.jsonl")
    csr = certificates.request(certificates.new_key(), "D-6", "")
    assert isinstance(site.ca.enrol("D-6", code, csr, site.at), Refusal)
    (tmp_path / "claims.jsonl").write_text(f"{json.dumps(good)}\n")
    assert site.ca.import_claims(tmp_path / "claims.jsonl") == 1
    assert isinstance(site.ca.enrol("D-6", code, csr, site.at), x509.Certificate)


def test_another_ca_is_sent_nothing(site: Site, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = site.claim("D-5")
    asked: list[str] = []
    genuine = est._ask
    monkeypatch.setattr(est, "_ask", lambda *args, **more: asked.append(args[3]) or genuine(*args, **more))
    other = Claim(host=claim.host, port=claim.port, ca_sha256="00" * 32, code=claim.code)
    found = site.enrol(other, identity)
    assert isinstance(found, Refusal) and found.gate == "ca" and found.value == site.ca.sha256
    assert asked == ["/.well-known/est/cacerts"], "the claim's code was not sent"


def test_a_ca_that_was_made_anew_is_said_at_renewal(site: Site, identity: Identity, tmp_path: Path) -> None:
    assert isinstance(site.enrol(site.claim("D-6"), identity), Enrolled)
    other = Site(tmp_path / "other")
    with other.serving():
        moved = identity.home_file.read_text().replace(str(site.port), str(other.port))
        identity.home_file.write_text(moved)
        with pytest.raises(DriverError, match="not of the CA that this device trusts"):
            enrol.renew(identity, board="B1", now=site.now, force=True)
    other.ca.close()
    assert identity.fault("B1", site.at) is None, "what it has is as good as before"


def test_a_ca_changes_its_key_and_devices_follow_at_their_renewal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before = tmp_path / "ca", Site(tmp_path / "ca")
    devices = {name: Identity(tmp_path / name) for name in ("R-1", "R-2", "R-3", "R-4")}
    old_label = before.claim("R-3")
    with before.serving():
        for name in ("R-1", "R-2"):
            assert isinstance(before.enrol(before.claim(name), devices[name]), Enrolled)
        old_label = msgspec.structs.replace(old_label, port=before.port)
    before.ca.close()
    assert main(["centre", "ca", "roll", "--dir", str(folder)]) == 0
    assert main(["centre", "ca", "roll", "--dir", str(folder)]) != 0, "one change at a time"
    between = Site(folder, before.port)
    assert between.ca.root != before.ca.root
    with between.serving():
        assert isinstance(enrol.renew(devices["R-1"], board="B1", now=between.now, force=True), Enrolled)
        assert set(devices["R-1"].roots()) == {between.ca.root, before.ca.root}
        assert isinstance(between.enrol(old_label, devices["R-3"]), Enrolled)
        assert isinstance(between.enrol(between.claim("R-4"), devices["R-4"]), Enrolled)
        assert all(devices[name].fault("B1", between.at) is None for name in devices)
    assert between.ca.left_behind(between.at) == ["R-2"]
    between.claim("R-5")  # not used
    between.ca.close()
    capsys.readouterr()
    assert main(["centre", "ca", "roll", "--finish", "--dir", str(folder)]) == 1
    assert "R-2" in capsys.readouterr().out
    assert main(["centre", "ca", "roll", "--finish", "--force", "--dir", str(folder)]) == 0
    assert "1 claims are not used yet (R-5)" in capsys.readouterr().out
    after = Site(folder, before.port)
    with after.serving():
        for name in ("R-1", "R-3", "R-4"):
            assert isinstance(enrol.renew(devices[name], board="B1", now=after.now, force=True), Enrolled)
            assert devices[name].roots() == [after.ca.root]
            assert devices[name].fault("B1", after.at) is None
        with pytest.raises(DriverError, match="not of the CA that this device trusts"):
            enrol.renew(devices["R-2"], board="B1", now=after.now, force=True)
    after.ca.close()


def test_a_change_of_key_that_is_cut_off_leaves_the_old_ca_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, seen = datetime.now(UTC), set[str]()
    genuine = rollover.write_durably
    for stop in range(1, 9):
        folder = tmp_path / str(stop)
        rollover.make(folder, "a CA", now)
        old, done = rollover.ring(folder).roots, 0

        def dying(file: Path, data: bytes, mode: int = 0o600, stop: int = stop) -> None:
            nonlocal done
            done += 1
            if done * 2 - 1 == stop:
                raise Killed
            genuine(file, data, mode)
            if done * 2 == stop:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(rollover, "write_durably", dying)
            rollover.roll(folder, now)
        found = rollover.ring(folder).roots
        if found == old:
            rollover.roll(folder, now)
            seen.add("old")
        else:
            assert found[1:] == old
            seen.add("new")
        assert rollover.finish(folder) and len(rollover.ring(folder).roots) == 1
    assert seen == {"old", "new"}


def test_nobody_but_the_ca_vouches_for_the_next_ca(site: Site, identity: Identity) -> None:
    assert isinstance(site.enrol(site.claim("V-1"), identity), Enrolled)
    held, key = identity.certificate(), identity.key()
    assert held is not None
    forged = certificates.self_signed(key, "a CA", site.at, 10)  # with a key that the CA has certified, as a device's
    stranger = certificates.self_signed(certificates.new_key(), "a CA", site.at, 10)
    assert certificates.vouched([forged, held, stranger, site.ca.root], [site.ca.root]) == [site.ca.root]


def test_who_stole_the_old_key_gets_no_certificate_by_the_new_one_with_a_number_that_he_saw(tmp_path: Path) -> None:
    now, key = datetime.now(UTC), certificates.new_key()
    rollover.make(tmp_path, "a CA", now)
    stolen = rollover.ring(tmp_path).pairs[0]
    ca = authority.Authority(tmp_path)
    genuine = ca.enrol(
        "D-1", ca.new_claim("D-1", "B1", now), certificates.request(certificates.new_key(), "", "B1"), now
    )
    ca.close()
    assert isinstance(genuine, x509.Certificate)
    rollover.roll(tmp_path, now)
    made = certificates.issue(stolen, key.public_key(), genuine.subject, now, 60)
    forged = (
        x509.CertificateBuilder(made.issuer, made.subject, key.public_key(), genuine.serial_number)
        .not_valid_before(made.not_valid_before_utc)
        .not_valid_after(made.not_valid_after_utc)
        .sign(stolen[1], SHA256())
    )
    ca = authority.Authority(tmp_path)
    found = ca.renew(forged, certificates.request(key, "D-1", "B1"), now)
    assert isinstance(found, Refusal) and "did not issue it" in str(found)
    ca.close()


def test_two_who_change_the_key_at_once_leave_one_ca(tmp_path: Path) -> None:
    rollover.make(tmp_path, "a CA", datetime.now(UTC))
    with rollover._alone(tmp_path), pytest.raises(DriverError, match="somebody else changes its key"):
        rollover.roll(tmp_path, datetime.now(UTC))
    assert len(rollover.ring(tmp_path).roots) == 1


def test_while_there_are_two_keys_each_signs_a_list_of_the_revoked(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    rollover.make(tmp_path, "a CA", now)
    rollover.roll(tmp_path, now)
    ca = authority.Authority(tmp_path)
    lists = [x509.load_pem_x509_crl(b"-----BEGIN X509" + part) for part in ca.crl(now).split(b"-----BEGIN X509")[1:]]
    roots = rollover.ring(tmp_path).roots
    ca.close()
    assert [one.is_signature_valid(root.public_key()) for one, root in zip(lists, roots, strict=True)] == [True, True]


def test_it_is_renewed_at_two_thirds_of_its_life_and_not_before(site: Site, identity: Identity) -> None:
    first = site.enrol(site.claim("D-7"), identity)
    assert isinstance(first, Enrolled)
    soon = enrol.renew(identity, board="B1", now=lambda: site.at + timedelta(days=39))
    assert isinstance(soon, Enrolled) and soon.state == "current" and soon.serial == first.serial
    key = identity.key_file.read_bytes()
    site.at += timedelta(days=41)
    try:
        due = enrol.renew(identity, board="B1", now=site.now)
    finally:
        site.at -= timedelta(days=41)
    assert isinstance(due, Enrolled) and due.state == "renewed" and due.serial != first.serial
    assert due.brokers == first.brokers and identity.key_file.read_bytes() == key


def test_the_ca_s_own_server_renews_its_certificate_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(est_server, "LOOK_EVERY_S", 0.02)
    site = Site(tmp_path / "ca")

    def shown() -> str:
        return ssl.get_server_certificate((LOOPBACK, site.port), timeout=30)

    with site.serving():
        first = shown()
        assert shown() == first, "not before it is due"
        site.at += timedelta(days=300)
        until_s = time.monotonic() + 60
        while shown() == first:
            assert time.monotonic() < until_s
            time.sleep(0.02)
    site.ca.close()


def test_a_card_in_another_board_is_a_clone_on_the_device_and_at_the_ca(site: Site, identity: Identity) -> None:
    assert isinstance(site.enrol(site.claim("D-8"), identity, board="B1"), Enrolled)
    on_device = enrol.renew(identity, board="B2", now=site.now, force=True)
    assert isinstance(on_device, Refusal) and on_device.gate == "clone" and on_device.limit == "B1"
    held = identity.certificate()
    assert held is not None
    lying = certificates.request(identity.key(), "D-8", "B2")
    at_ca = site.ca.renew(held, lying, site.at)
    assert isinstance(at_ca, Refusal) and at_ca.gate == "clone"
    assert site.ca.refusals()[0]["gate"] == "clone"


def test_a_new_claim_takes_the_old_board_s_certificate_back(site: Site, tmp_path: Path) -> None:
    old, new = Identity(tmp_path / "old"), Identity(tmp_path / "new")
    assert isinstance(site.enrol(site.claim("D-9"), old, board="B1"), Enrolled)
    assert isinstance(site.enrol(site.claim("D-9"), new, board="B2"), Enrolled)
    found = enrol.renew(old, board="B1", now=site.now, force=True)
    assert isinstance(found, Refusal) and "revoked" in str(found)
    held = old.certificate()
    assert held is not None
    crl = x509.load_pem_x509_crl(site.ca.crl(site.at))
    assert crl.get_revoked_certificate_by_serial_number(held.serial_number) is not None


def test_a_clock_in_1970_enrols_by_the_ca_s_own_time_however_old_the_ca(site: Site, identity: Identity) -> None:
    assert site.ca.root.not_valid_before_utc < site.at - timedelta(days=29), "younger than its server's certificate"
    found = enrol.enrol(
        site.claim("D-10"), identity, device="", board="B1", now=lambda: datetime(1970, 1, 1, tzinfo=UTC)
    )
    assert isinstance(found, Enrolled) and found.state == "enrolled"


def test_a_kill_before_or_after_any_write_is_finished_by_the_next_run(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, writes = Identity.write, 0
    for stop in range(1, 100):
        identity = Identity(tmp_path / str(stop) / "identity")
        identity.folder.parent.mkdir()
        claim, done = site.claim(f"K-{stop}"), 0

        def dying(self: Identity, file: Path, data: bytes, stop: int = stop) -> None:
            nonlocal done
            done += 1
            if done * 2 - 1 == stop:
                raise Killed
            genuine(self, file, data)
            if done * 2 == stop:
                raise Killed

        monkeypatch.setattr(Identity, "write", dying)
        try:
            site.enrol(claim, identity)
        except Killed:
            writes = stop
        monkeypatch.setattr(Identity, "write", genuine)
        again = site.enrol(claim, identity)
        assert isinstance(again, Enrolled) and again.brokers == ("mqtt:8883",), f"after a kill at {stop}"
        assert identity.fault("B1", site.at) is None
        if writes != stop:
            break
    assert writes >= 10, "key, CA, home, certificate, home again: each before and after"


def test_a_full_disk_costs_nothing_and_says_where(
    site: Site, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = site.claim("D-11")

    def full(file: Path, data: bytes, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.device.identity.write_durably", full)
        with pytest.raises(DriverError, match=r"device\.key: cannot be written: No space left"):
            site.enrol(claim, identity)
    assert isinstance(site.enrol(claim, identity), Enrolled)


def test_a_ca_whose_disk_is_full_spends_no_claim(
    site: Site, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = site.claim("D-14")

    def full(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(site.ca, "_issue", full)
        with pytest.raises(DriverError, match=r"the CA fails: 503 .*disk is full"):
            site.enrol(claim, identity)
    assert isinstance(site.enrol(claim, identity), Enrolled)


def test_two_technicians_at_once_one_waits(site: Site, identity: Identity) -> None:
    with identity.locked(), pytest.raises(DriverError, match="somebody else is enrolling"):
        site.enrol(site.claim("D-12"), identity)


def test_two_devices_with_one_claim_at_once_one_of_them_gets_it(site: Site, tmp_path: Path) -> None:
    claim = site.claim("D-13")
    found: list[Enrolled | Refusal] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(site.enrol(claim, Identity(tmp_path / str(n)))))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(type(one).__name__ for one in found) == ["Enrolled", "Refusal", "Refusal"]


def test_nobody_there_is_said_as_such(identity: Identity) -> None:
    claim = Claim(host=LOOPBACK, port=1, ca_sha256="00" * 32, code=new_code())
    with pytest.raises(DriverError, match="cannot be reached"):
        enrol.enrol(claim, identity, device="", board="", now=lambda: datetime.now(UTC))
