"""Hot lists: nothing without authority, reason and expiry; kept as hashes; every look-up written down."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import config
from edge_agent.audit import Audit
from edge_agent.cli import main
from edge_agent.incidents import hotlist, hotlist_import, hotlist_store
from edge_agent.incidents.hotlist_store import HotLists
from edge_agent.incidents.rules import Rules
from edge_agent.messages import Incident, Listed, Plate, Track, Tracks
from edge_agent.runtime import DriverError

NOW = 1_795_310_283.0  # 2026-11-22T01:18:03Z
LATER, PAST = "2026-12-31T23:59:59+08:00", "2026-11-01T00:00:00Z"
WHOLE = config.Zone(name="gate", camera="c", polygon=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))


def listed(plate: str, **facts: str) -> Listed:
    return Listed(**({"plate": plate, "authority": "police", "reason": "stolen", "expires": LATER} | facts))


@pytest.fixture
def lists(tmp_path: Path) -> HotLists:
    found = HotLists(tmp_path, audit=Audit(tmp_path), wall=lambda: NOW)
    assert not isinstance(found.take("stolen", plates=(listed("浙A·8B256"), listed("京A12345")), by="t"), str)
    return found


# --- matching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "quality", "distance"),
    [
        ("浙A8B256", "exact", 0.0),
        ("浙a 8b-256", "exact", 0.0),
        ("浙ABB256", "probable", 0.25),  # 8 was read as B
        ("浙A8B2S6", "probable", 0.25),
        ("浙A3B256", "probable", 0.5),
        ("沪A8B256", "possible", 1.0),
        ("浙A8B259", "possible", 1.0),
        ("浙ABB2S6", "probable", 0.5),  # two that readers mistake very easily
        ("浙ABB2S8", None, None),  # a third in doubt is another plate
        ("浙ABB259", None, None),  # and so is one more of any kind
        ("浙A8B25", None, None),
    ],
)
def test_a_plate_matches_exactly_or_with_a_doubt_that_has_its_price(
    lists: HotLists, read: str, quality: str | None, distance: float | None
) -> None:
    hit = lists.look(read, quality="possible", by="t")
    assert (hit and hit.quality, hit and hit.distance) == (quality, distance)
    if hit and hit.doubt:
        assert hit.doubt.startswith("character ")
    for weakest in ("exact", "probable"):
        weaker = lists.look(read, quality=weakest, by="t")
        allowed = quality is not None and hotlist.LIMITS[quality] <= hotlist.LIMITS[weakest]
        assert (weaker is not None) is allowed


@pytest.mark.parametrize(
    ("read", "doubt"),
    [
        ("粤A12345", None),
        ("鲁A12345", "character 1 was read as 鲁, may be 粤"),
        ("粤AI2345", "character 3 was read as I, may be 1"),
        ("粤AIZ345", "character 3 was read as I, may be 1; character 4 was read as Z, may be 2"),
    ],
)
def test_a_hit_says_which_characters_are_in_doubt(tmp_path: Path, read: str, doubt: str | None) -> None:
    lists = HotLists(tmp_path, audit=Audit(tmp_path), wall=lambda: NOW)
    lists.take("m", plates=(listed("粤A12345"),), by="t")
    hit = lists.look(read, quality="probable", by="t")
    assert hit is not None
    assert hit.doubt == doubt


@given(st.text(alphabet=hotlist.ALPHABET, min_size=6, max_size=8))
def test_every_plate_finds_itself_and_nothing_longer_or_shorter(plate: str) -> None:
    found = hotlist.change(
        hotlist.SealedList(),
        key=bytes(32),
        version=1,
        replace=True,
        plates=(listed(plate),),
        remove=(),
        by="t",
        wall_s=0,
    )
    assert not isinstance(found, str)

    def look(text: str) -> object:
        return hotlist.look(text, {"m": found.to}, sealed=lambda t: hotlist.seal(bytes(32), t), wall_s=NOW)

    assert look(plate)
    assert look(plate + "1") is None
    assert look(plate[:-1]) is None


def test_what_has_expired_is_no_hit_and_goes_by_itself(tmp_path: Path) -> None:
    now = [NOW]
    lists = HotLists(tmp_path, audit=Audit(tmp_path), wall=lambda: now[0])
    lists.take("m", plates=(listed("京A12345", expires="2026-11-22T02:00:00Z"), listed("京A99999")), by="t")
    assert lists.look("京A12345", quality="exact", by="t")
    now[0] += 3600
    assert lists.look("京A12345", quality="exact", by="t") is None
    assert lists.expire("retention") == 1
    assert lists.expire("retention") == 0
    assert lists.status()["m"]["entries"] == 1


# --- kept -----------------------------------------------------------------------------------------------------------


def test_no_plate_lies_on_the_disk_and_nobody_else_may_read_the_lists(lists: HotLists, tmp_path: Path) -> None:
    lists.look("京B00001", quality="probable", by="t")
    lists.flush()
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
        text = file.read_bytes().decode("latin-1").encode("latin-1")
        for plate in ("8B256", "12345", "B00001"):
            assert plate.encode() not in text, (file, plate)


def test_a_version_must_rise_and_an_amendment_keeps_the_rest(lists: HotLists) -> None:
    assert "not newer than 1" in str(lists.take("stolen", plates=(), version=1, by="t"))
    lists.take("stolen", plates=(listed("京A00001"),), remove=("浙A8B256",), replace=False, version=5, by="t")
    assert [bool(lists.look(p, quality="exact", by="t")) for p in ("京A00001", "京A12345", "浙A8B256")] == [1, 1, 0]
    lists.take("stolen", plates=(listed("京A00002"),), by="t")
    assert lists.status()["stolen"] == {"version": 6, "entries": 1, "next_expires": LATER}


@pytest.mark.parametrize(
    "facts", [{"authority": " "}, {"reason": " "}, {"expires": "2026-12-31T23:59:59"}, {"plate": "··"}]
)
def test_an_entry_without_authority_reason_or_expiry_changes_nothing(lists: HotLists, facts: dict[str, str]) -> None:
    found = lists.take("stolen", plates=(listed("京A00001"), listed(**({"plate": "京A2"} | facts))), by="t")
    assert str(found).startswith(f"plates[1].{next(iter(facts))}: ")
    assert lists.status()["stolen"]["version"] == 1


def test_without_its_key_nothing_is_a_hit_and_whoever_asks_is_told_why(lists: HotLists, tmp_path: Path) -> None:
    (tmp_path / "hotlist.key").unlink()
    blind = HotLists(tmp_path, audit=Audit(tmp_path))
    with pytest.raises(DriverError, match=r"hotlist\.key: .*no plate can be matched without it"):
        blind.refresh()
    assert blind.look("京A12345", quality="exact", by="rule:r") is None  # the eyes go on
    blind.flush()
    assert Audit(tmp_path).tail(1)[0]["what"] == "hot_list.look"


def test_with_another_key_whoever_asks_is_told_that_nothing_would_match(lists: HotLists, tmp_path: Path) -> None:
    (tmp_path / hotlist_store.KEY).write_bytes(bytes(32))
    again = HotLists(tmp_path, audit=Audit(tmp_path), wall=lambda: NOW)
    with pytest.raises(DriverError, match="is another key than that of the lists"):
        again.refresh()
    assert again.look("京A12345", quality="exact", by="t") is None
    assert main(["hotlist", "check", "京A12345", "--data-dir", str(tmp_path)]) == 69


def test_whoever_looks_waits_for_nobody_who_changes_the_lists(lists: HotLists, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, goes_on = threading.Event(), threading.Event()

    def flock(_fd: int, _how: int) -> None:  # as long as another process imports
        waits.set()
        assert goes_on.wait(60)

    monkeypatch.setattr(hotlist_store.fcntl, "flock", flock)
    with ThreadPoolExecutor(2) as pool:
        changing = pool.submit(lists.expire, "retention")
        try:
            assert waits.wait(60)
            assert pool.submit(lists.look, "京A12345", quality="exact", by="rule:r").result(20)
            assert not changing.done()
        finally:
            goes_on.set()
        assert changing.result(60) == 0


def test_looks_that_the_log_could_not_take_are_written_when_it_can(lists: HotLists, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    log.rename(tmp_path / "aside")
    log.mkdir()  # what nobody can write to
    lists.look("京A12345", quality="exact", by="rule:r")
    with pytest.raises(DriverError):
        lists.flush()
    log.rmdir()
    (tmp_path / "aside").rename(log)
    lists.flush()
    assert [one["by"] for one in Audit(tmp_path).find("hot_list.look")] == ["rule:r"]
    assert Audit(tmp_path).verify().faults == ()


def test_a_list_changed_by_another_process_is_noticed_and_both_are_audited(lists: HotLists, tmp_path: Path) -> None:
    before = lists.generation
    HotLists(tmp_path, audit=Audit(tmp_path)).take("stolen", plates=(), by="other")
    lists.refresh()
    assert lists.generation > before
    assert lists.look("京A12345", quality="exact", by="t") is None
    lists.flush()
    log = Audit(tmp_path)
    assert [(r["what"], r["by"]) for r in log.tail(3)] == [
        ("hot_list.change", "t"),
        ("hot_list.change", "other"),
        ("hot_list.look", "t"),
    ]
    assert log.verify().faults == ()


# --- the rule -------------------------------------------------------------------------------------------------------


def seen(rules: Rules, t: float, text: str, track: int = 1, confidence: float = 0.9) -> list[Incident]:
    box = (100.0, 100.0, 300.0, 200.0)
    plate = Plate(text=text, confidence=confidence, box=box)
    one = Track(id=track, label="car", score=0.9, box=box, first_s=0.0, last_s=t, hits=3, plate=plate)
    return rules.update(
        Tracks(camera="c", seq=int(t * 10), at_s=t, wall_s=NOW + t, width=640, height=480, tracks=(one,))
    )


def test_a_hit_is_an_incident_of_its_own_kind_told_once_and_again_when_it_becomes_surer(lists: HotLists) -> None:
    rule = config.HotListed(id="wanted", zone="gate", cool_down_s=60)
    rules = Rules([WHOLE], [rule], lists=lists)
    assert seen(rules, 1.0, "浙A8B256", confidence=0.3) == []
    [incident] = seen(rules, 2.0, "浙ABB256")
    assert incident.hit
    assert (incident.kind, incident.rule, incident.zone) == ("hot_list", "wanted", "gate")
    assert (incident.hit.quality, incident.hit.authority, incident.hit.list) == ("probable", "police", "stolen")
    assert seen(rules, 3.0, "浙ABB256") == []
    [surer] = seen(rules, 4.0, "浙A8B256")
    assert surer.hit
    assert surer.hit.quality == "exact"
    assert seen(rules, 5.0, "浙A8B256", track=2) == []  # the tracker lost it and found it again
    assert seen(rules, 70.0, "浙A8B256", track=2) != []


def test_a_standing_car_is_looked_up_once_and_again_when_the_list_changes(lists: HotLists, tmp_path: Path) -> None:
    rules = Rules([], [config.HotListed(id="wanted")], lists=lists)
    for t in range(50):
        assert seen(rules, float(t), "京C77777") == []
    lists.flush()
    looks = [record for record in Audit(tmp_path).tail(100) if record["what"] == "hot_list.look"]
    assert len(looks) == 1
    lists.take("stolen", plates=(listed("京C77777"),), by="t")
    assert len(seen(rules, 51.0, "京C77777")) == 1


def vars_of(plate: str) -> dict[str, str]:
    return {"plate": plate, "authority": "police", "reason": "stolen", "expires": LATER}


# --- files and the command line -------------------------------------------------------------------------------------

CSV = f"plate,authority,reason,expires\n浙A8B256,police,stolen,{LATER}\n京A12345,customs,smuggling,{LATER}\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("plate,authority\nx,y\n", "line 1: the columns must be"),
        (CSV + "京B1,police\n", "line 4: has 2 fields"),
        (CSV + f"京B1,,stolen,{LATER}\n", "line 4: authority: required"),
        (f'[{{"plate": "京B1", "reason": "x", "expires": "{LATER}"}}]', "entry 1: authority: required"),
        ('[{"plate": "京B1", "authority": "a", "reason": "x"}]', "entry 1: expires: required"),
        (CSV + "京B1,police,stolen,soon\n", "line 4: expires: wanted as RFC 3339"),
        (CSV + "京B1,police,stolen,2027-02-28\n", "line 4: expires: wanted as RFC 3339"),
        (CSV + "京B1,police,stolen,2027-02-30T00:00:00Z\n", "line 4: expires: wanted as RFC 3339"),
        (CSV + '"京B1,police', "is not CSV"),
        ("", "line 1: "),
        (b"\xff\xfe", "not UTF-8"),
        ("[1, 2]", "entry 1: "),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"plates": 3}', "must hold an array"),
    ],
)
def test_every_fault_of_a_file_is_named_and_nothing_of_it_is_taken(
    tmp_path: Path, text: str | bytes, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    file = tmp_path / ("list.json" if data[:1] in (b"[", b"{") else "list.csv")
    file.write_bytes(data)
    assert main(["hotlist", "import", str(file), "--data-dir", str(tmp_path / "d")]) == 65
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "d" / "hotlist.json").exists()


@pytest.mark.parametrize(
    "data",
    [
        CSV.encode("gb18030"),
        CSV.replace("\n", "\r\n").encode("utf-8-sig"),
        CSV.replace(",", ";").encode(),
        CSV.replace(",", "\t").encode("gbk"),
        CSV.replace("police", '"the police, ""north"""').encode(),
        f"n;{CSV}".replace("\n浙", "\n1,浙").replace("\n京", "\n2,京").replace("n;", "n,").encode(),
        json.dumps({"plates": [vars_of(p) | {"n": 1} for p in ("浙a 8b-256", "京Ａ１２３４５")]}).encode(),
    ],
)
def test_a_list_is_read_as_other_programs_save_it(data: bytes) -> None:
    entries, faults = hotlist_import.read(data)
    assert ([hotlist.plain(entry.plate) for entry in entries], faults) == (["浙A8B256", "京A12345"], [])


def test_utf_8_with_a_damaged_byte_is_not_taken_for_another_encoding() -> None:
    data = CSV.encode()
    for at in range(len(data)):
        entries, faults = hotlist_import.read(data[:at] + b"\xff" + data[at + 1 :])
        assert "not UTF-8" in faults[0]
        assert not entries


@given(st.binary(max_size=300), st.sampled_from([b"", b"[", b"{", CSV.encode()]))
def test_no_bytes_of_a_file_break_the_import(data: bytes, beginning: bytes) -> None:
    hotlist_import.read(beginning + data)


def test_the_command_line_imports_checks_lists_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, where = tmp_path / "l.csv", ["--data-dir", str(tmp_path / "d"), "--json"]
    file.write_text("﻿" + CSV.replace("reason", "class").replace("expires", "expiry"), encoding="utf-8")

    def run(*args: str) -> tuple[int, list[dict[str, object]]]:
        code = main(["hotlist", *args, *where])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    code, [told] = run("import", str(file), "--dry-run")
    assert (code, told["added"], (tmp_path / "d" / "hotlist.json").exists()) == (0, 2, False)
    code, [told] = run("import", str(file), "--list", "stolen")
    assert (code, told["version"], told["entries"]) == (0, 1, 2)
    code, [answer] = run("check", "浙A8B256")
    assert (code, answer["hit"] is not None) == (0, True)
    assert run("check", "京Q00000") == (1, [{"plate": "京Q00000", "hit": None}])
    code, entries = run("list")
    assert (code, len(entries), "plate" in entries[0]) == (0, 2, False)
    assert run("expire", "浙A8B256", "--dry-run")[1] == [{"expired": 1, "dry_run": True}]
    assert run("expire", "浙A8B256")[1] == [{"expired": 1, "dry_run": False}]
    assert run("check", "浙A8B256")[0] == 1
    assert main(["audit", "verify", *where]) == 0
    assert main(["hotlist", "check", "京A12345", "--list", "nope", *where]) == 69
    assert "no hot list is called 'nope' (there is: stolen)" in capsys.readouterr().err
    assert main(["hotlist", "import", "/dev/zero", *where]) == 65
    assert "more than the 33554432 bytes" in capsys.readouterr().err
    for args in (["check", ""], ["import", str(file), "--list", "../x"]):
        with pytest.raises(SystemExit):
            main(["hotlist", *args, *where])
