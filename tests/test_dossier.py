"""A parked car's set of evidence: one signed manifest, closed also by a restart, any change seen."""

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent import config, keys, manifest
from edge_agent.audit import Audit
from edge_agent.cli import main
from edge_agent.dossier import ClipRole, Dossiers
from edge_agent.incidents.rules import Rules
from edge_agent.messages import Plate, PlateShot, Spoken, Track, Tracks, Video
from edge_agent.runtime import DriverError, Health, SystemClock
from edge_agent.vision.camera import Frame
from edge_agent.witness import Witness

KERB = config.Zone(name="kerb", camera="c", polygon=((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
RULE = config.Dwell(
    id="p", zone="kerb", after_s=4.0, evidence=config.PhotoSet(photos=2, every_s=2.0, grace_s=60.0)
)  # fmt: skip
PIXELS = np.random.default_rng(5).integers(0, 255, (90, 160, 3)).astype(np.uint8)


class Books:
    """Remembers what it was to take charge of."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, str]] = {}
        self.why: str | None = None

    async def keep(self, path: Path, *, kind: str, incident: str, sha256: str, bytes: int, wall_s: float) -> None:
        assert path.stat().st_size == bytes
        self.kept[path.name] = kind, incident

    def refuses(self) -> str | None:
        return self.why


class World:
    """A directory, its parts, and a car that stands from 0 s on."""

    def __init__(self, directory: Path, **privacy: Any) -> None:
        self.dir, self.books, self.clock = directory, Books(), SystemClock()
        health = self.health = Health(self.clock)
        settings = config.Agent(
            site=config.Site(device="d"),
            data_dir=directory,
            zones=(KERB,),
            rules=(RULE,),
            privacy=config.Privacy(**privacy),
        )
        audit = Audit(directory)
        self.rules = Rules(settings.zones, settings.rules)
        common: dict[str, Any] = {"audit": audit, "clock": self.clock, "health": health}
        witness = Witness(directory, settings.privacy, **common)
        self.sets = Dossiers(directory, lambda: settings, witness=witness, books=self.books, **common)

    async def see(self, t: float, *, there: bool = True, passers_by: tuple[Track, ...] = ()) -> None:
        plate = Plate(text="京A12345", confidence=0.8 + t / 100, box=(40, 60, 60, 66), votes=3)
        shot = PlateShot(jpeg=f"read until {min(t, 5.0)}".encode(), wall_s=1e9 + min(t, 5.0))
        facts: dict[str, Any] = {"first_s": 0.0, "last_s": t, "hits": 9, "plate": plate, "shot": shot}
        car = Track(id=1, label="car", score=0.9, box=(20, 20, 100, 70), **facts)
        tracks = Tracks(
            camera="c",
            seq=int(t * 2),
            at_s=t,
            wall_s=1e9 + t,
            width=160,
            height=90,
            tracks=((car,) if there else ()) + passers_by,
        )
        fired = self.rules.update(tracks)
        await self.sets.take(fired, self.rules.shots(), Frame("c", int(t * 2), t, 1e9 + t, PIXELS), tracks)

    async def closed(self) -> dict[str, Any]:
        """What the manifest says once the part has run."""
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            part = group.create_task(self.sets.run())
            while not (found := list((self.dir / "sets").glob("*.manifest.json"))):
                await asyncio.sleep(0.01)
            while found[-1].name not in self.books.kept:
                await asyncio.sleep(0.01)
            part.cancel()
        return manifest.read(sorted(found)[-1])


def said(speaker: str, incident: str) -> Spoken:
    facts: dict[str, Any] = {"cls": "rule", "proof": "delivered", "outcome": "delivered", "text": "Please drive on."}
    return Spoken(announcement="a", speaker=speaker, wall_s=1e9 + 5, incident=incident, by="rule:p", **facts)


@pytest.fixture
async def parked(tmp_path: Path) -> AsyncGenerator[World, None]:
    """A car that stood, was warned, was filmed, and left."""
    world = World(tmp_path)
    for n in range(14):
        await world.see(n / 2)
    incident = next(iter(world.sets._open))
    await world.sets.spoken(said("horn", incident))
    sha256 = hashlib.sha256(b"a clip").hexdigest()
    (tmp_path / "clips").mkdir()

    async def film(role: ClipRole, name: str) -> None:
        clip = tmp_path / "clips" / name
        clip.write_bytes(b"a clip")
        video = Video(path=str(clip), sha256=sha256, bytes=6, width=1, height=1, frames=9, began_s=1e9, lasts_s=20.0)
        await world.sets.filmed(incident, role, video, None)

    await film("clip_fired", f"{incident}.mp4")
    for n in range(14, 40):
        await world.see(n / 2, there=False)
    await film("clip", f"{incident}.stay.mp4")
    yield world


async def test_a_parked_car_leaves_one_signed_set_with_all_that_shows_it(parked: World, tmp_path: Path) -> None:
    found = await parked.closed()
    roles = [one["role"] for one in found["files"]]
    assert roles == ["entry", "plate", "photo1", "plate", "photo2", "plate", "clip_fired", "exit", "clip"]
    assert found["missing"] == []
    plates = [one for one in found["files"] if one["role"] == "plate"]
    assert [one["name"].rpartition(".plate")[2] for one in plates] == ["1.jpg", "2.jpg", "3.jpg"]
    assert plates[-1]["time"] == "2001-09-09T01:46:45.000Z"  # when it was read best, not when the photograph was taken
    assert (found["outcome"], found["seq"], found["prev"]) == ("left", 1, manifest.START)
    assert found["plate"]["text"] == "京A12345"
    assert found["warnings"][0]["text"] == "Please drive on."
    assert found["time_quality"]["src"] in ("ntp", "gps", "unsynchronised")
    times = [one["time"] for one in found["files"] if one["role"].startswith("photo")]
    assert times == ["2001-09-09T01:46:44.000Z", "2001-09-09T01:46:46.000Z"]  # 1e9 s and 4, and 2 later
    file = next((tmp_path / "sets").glob("*.manifest.json"))
    public = keys.public_text(keys.load(tmp_path / "device.key"))
    checked = manifest.check(file, public, [tmp_path / "clips"])
    assert checked.faults == ()
    assert checked.files == 9
    assert parked.books.kept[file.name] == ("manifest", found["incident"])
    assert Audit(tmp_path).tail(1)[0]["facts"]["hash"] == found["hash"]
    assert not list((tmp_path / "sets").glob(".*.draft"))


def test_a_device_without_sets_is_whole_and_no_directory_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evidence", "verify", "--data-dir", str(tmp_path)]) == 0
    assert "whole: 0 sets of evidence" in capsys.readouterr().out
    keys.device_key(tmp_path)
    assert main(["evidence", "verify", "--data-dir", str(tmp_path)]) == 0
    assert main(["evidence", "verify", "nobody", "--data-dir", str(tmp_path)]) == 69
    assert main(["evidence", "verify", "--data-dir", str(tmp_path / "no")]) == 69


@pytest.mark.parametrize("victim", ["photo1.jpg", "exit.jpg", ".stay.mp4"])
async def test_verify_finds_any_file_that_was_changed_or_taken_away(
    parked: World, tmp_path: Path, victim: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await parked.closed()
    verify = ["evidence", "verify", "--data-dir", str(tmp_path), "--json"]
    assert main(verify) == 0
    assert json.loads(capsys.readouterr().out)["ok"]
    file = next(file for folder in ("sets", "clips") for file in (tmp_path / folder).glob(f"*{victim}"))
    file.write_bytes(file.read_bytes() + b"x")
    assert main(verify) == 1
    assert "was changed" in capsys.readouterr().out
    file.unlink()
    assert main(verify) == 1
    assert "is not here" in capsys.readouterr().out


async def test_another_machine_needs_a_copy_and_the_public_key_and_judges_opened_originals(
    parked: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await parked.closed()
    public = keys.public_text(keys.load(tmp_path / "device.key"))
    copy, opened = tmp_path / "copy", tmp_path / "opened"
    for folder in ("sets", "clips"):
        shutil.copytree(tmp_path / folder, copy / folder)
    shutil.copytree(tmp_path / "originals", opened)
    verify = ["evidence", "verify", str(copy), "--public-key", public, "--files", str(opened)]
    assert main(verify) == 0
    assert "whole: 1 sets of evidence" in capsys.readouterr().out
    other = keys.public_text(keys.Ed25519PrivateKey.generate())
    assert main([*verify[:-3], other]) == 1
    assert "is not signed by this device's key" in capsys.readouterr().out
    forged = next(opened.glob("*.photo1.jpg"))
    forged.write_bytes(b"sealed to the authority by somebody else")
    assert main(verify) == 1
    assert f"{forged.name}: was changed" in capsys.readouterr().out
    assert main(["evidence", "verify", str(opened)]) == 69
    assert "holds no set of evidence" in capsys.readouterr().err


async def test_verify_misses_the_last_set_and_knows_what_was_deleted_by_the_rules(
    parked: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await parked.closed()
    verify = ["evidence", "verify", "--data-dir", str(tmp_path)]
    audit, photo = Audit(tmp_path), next((tmp_path / "sets").glob("*.photo1.jpg"))
    photo.unlink()
    assert main(verify) == 1
    audit.append([("evidence.deleted", "retention", {"file": photo.name, "why": "keep_days"})])
    assert main(verify) == 0
    file = tmp_path / "sets" / f"{found['incident']}.manifest.json"
    data = file.read_bytes()
    file.unlink()
    (tmp_path / "sets" / ".head").unlink()
    capsys.readouterr()
    (tmp_path / "sets").rename(tmp_path / "elsewhere")
    assert main(verify) == 1
    assert "was signed, is not here" in capsys.readouterr().out
    (tmp_path / "elsewhere").rename(tmp_path / "sets")
    assert main(verify) == 1
    assert f"manifest 1 ({found['incident']}) was signed, is not here, and no record tells" in capsys.readouterr().out
    file.write_bytes(data[:-9])
    assert main(verify) == 1
    assert "NOT WHOLE: 1 sets" in capsys.readouterr().out
    file.unlink()
    audit.append([("evidence.deleted", "retention", {"file": file.name, "why": "keep_days"})])
    assert main(verify) == 0


async def test_a_set_that_goes_with_the_records_that_tell_of_it_is_missed_by_the_log_s_end(
    parked: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await parked.closed()
    for file in (next((tmp_path / "sets").glob("*.manifest.json")), tmp_path / "sets" / ".head"):
        file.unlink()
    log = tmp_path / "audit.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert main(["evidence", "verify", "--data-dir", str(tmp_path)]) == 1
    assert "audit.head: records 1 to 1 were written and are not there" in capsys.readouterr().out


async def test_a_deletion_that_this_device_did_not_sign_excuses_nothing(
    parked: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await parked.closed()
    file = tmp_path / "sets" / f"{found['incident']}.manifest.json"
    file.unlink()
    (tmp_path / "sets" / ".head").unlink()
    forged = {"what": "evidence.deleted", "by": "retention", "facts": {"file": file.name}, "seq": 9, "prev": "0" * 64}
    with (tmp_path / "audit.jsonl").open("a") as log:
        log.write(json.dumps(forged | {"hash": "0" * 64, "sig": "AAAA"}) + "\n" + '{"what": "set.signed"}\n')
    assert main(["evidence", "verify", "--data-dir", str(tmp_path)]) == 1
    assert "no record tells of its deletion" in capsys.readouterr().out


async def test_the_manifest_signs_the_hash_of_each_original(parked: World, tmp_path: Path) -> None:
    found = await parked.closed()
    hashes = {one["name"]: one["original_sha256"] for one in found["files"] if "original_sha256" in one}
    assert len(hashes) >= 3
    for name, sha256 in hashes.items():
        assert hashlib.sha256((tmp_path / "originals" / name).read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize("key", ["entered", "outcome", "warnings", "plate", "seq", "files"])
async def test_no_fact_of_a_manifest_can_be_changed_without_the_key(parked: World, tmp_path: Path, key: str) -> None:
    found = await parked.closed()
    file = next((tmp_path / "sets").glob("*.manifest.json"))
    changed = found | {key: found[key][1:] if isinstance(found[key], list | str) else None}
    file.write_text(json.dumps(changed))
    assert manifest.check(file, None, [tmp_path / "clips"]).faults
    other = keys.make(tmp_path / "other.key")
    body = {name: value for name, value in changed.items() if name not in ("hash", "sig", "seq", "prev", "public_key")}
    file.write_text(json.dumps(manifest.signed(body, seq=1, prev=manifest.START, key=other)))
    public = keys.public_text(keys.load(tmp_path / "device.key"))
    assert "names another device's key" in manifest.check(file, public, [tmp_path / "clips"]).faults


async def test_a_restart_closes_what_it_finds_open_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    for n in range(10):
        await world.see(n / 2)
    found = await World(tmp_path).closed()
    assert found["outcome"] == "interrupted"
    assert [one["role"] for one in found["files"]] == ["entry", "plate", "photo1", "plate"]
    why = "the agent stopped before it was cut"
    assert found["missing"] == [{"role": "clip_fired", "why": why}, {"role": "clip", "why": why}]


async def test_what_is_told_of_a_set_by_several_at_once_is_all_on_the_disk(tmp_path: Path) -> None:
    world = World(tmp_path)
    for n in range(10):
        await world.see(n / 2)
    incident = next(iter(world.sets._open))
    await asyncio.gather(*(world.sets.spoken(said(f"horn {n}", incident)) for n in range(20)))
    assert world.health.state["sets"] == "running"
    [draft] = (tmp_path / "sets").glob(".*.draft")
    assert len(json.loads(draft.read_bytes())["body"]["warnings"]) == 20


async def test_a_warning_that_ends_while_its_set_is_signed_spoils_no_signature(
    parked: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [draft], sign = parked.sets._open.values(), manifest.signed

    def signed(body: dict[str, Any], **facts: Any) -> dict[str, Any]:
        found = sign(body, **facts)
        draft.body["warnings"].append({"speaker": "too late"})
        return found

    monkeypatch.setattr(manifest, "signed", signed)
    found = await parked.closed()
    assert len(found["warnings"]) == 1
    file = next((tmp_path / "sets").glob("*.manifest.json"))
    assert manifest.check(file, None, [tmp_path / "clips"]).faults == ()
    await parked.sets._save(draft)
    assert not list((tmp_path / "sets").glob(".*.draft"))


async def test_a_kill_after_the_signature_costs_no_place_in_the_chain(parked: World, tmp_path: Path) -> None:
    draft = next((tmp_path / "sets").glob(".*.draft"))
    data = draft.read_bytes()
    first = await parked.closed()
    draft.write_bytes(data)  # the manifest was written, and then the power failed
    again = await World(tmp_path).closed()
    assert (again["seq"], again["hash"]) == (1, first["hash"])
    assert main(["evidence", "verify", "--data-dir", str(tmp_path)]) == 0


async def test_a_damaged_manifest_keeps_no_other_set_open(parked: World, tmp_path: Path) -> None:
    (tmp_path / "sets" / "x.manifest.json").write_bytes(b"{")
    (tmp_path / "sets" / "y.manifest.json").write_text(json.dumps({"type": manifest.TYPE}))
    for draft in list(parked.sets._open.values()):
        await parked.sets._close(draft)
    (file,) = (tmp_path / "sets").glob("0*.manifest.json")
    assert manifest.check(file, None, [tmp_path / "clips"]).faults == ()


async def test_after_a_blind_spell_nobody_signs_that_it_left(tmp_path: Path) -> None:
    world = World(tmp_path)
    for n in range(14):
        await world.see(n / 2)
    (draft,) = world.sets._open.values()
    draft.awaited = []
    await world.see(100.0)  # there it stands, after a minute and a half without a picture
    found = await world.closed()
    assert (found["outcome"], found["ended"]) == ("interrupted", None)
    assert [one["role"] for one in found["files"] if one["role"] != "plate"] == ["entry", "photo1", "photo2"]


async def test_no_photograph_shows_a_head_whether_the_vehicle_is_seen_in_it_or_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    somebody = Track(id=2, label="person", score=0.9, box=(110, 10, 150, 80), first_s=0.0, last_s=0.0, hits=9)
    for n in range(40):
        await world.see(n / 2, there=n < 14, passers_by=(somebody,))
    taken = {file.name.split(".")[1]: cv2.imread(str(file)) for file in (tmp_path / "sets").glob("*.jpg")}
    for role in ("entry", "photo1", "exit"):
        assert taken[role][12:30, 112:148].std() < 40 < taken[role][60:85, 112:148].std(), role


async def test_what_could_not_be_kept_is_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    for n in range(8):
        await world.see(n / 2)
    world.books.why = "9 MiB of the disk are free"
    for n in range(8, 10):
        await world.see(n / 2)
    draft = next(iter(world.sets._open.values()))
    assert {(one["role"], one["why"]) for one in draft.body["missing"]} == {
        ("entry", "9 MiB of the disk are free"),
        ("photo1", "9 MiB of the disk are free"),
        ("clip_fired", "9 MiB of the disk are free"),
        ("clip", "9 MiB of the disk are free"),
    }


def test_a_chain_with_a_hole_or_an_exchanged_link_says_which() -> None:
    def one(seq: int, prev: str) -> dict[str, Any]:
        return {"seq": seq, "prev": prev, "hash": f"h{seq}", "incident": f"i{seq}"}

    whole = [one(1, manifest.START), one(2, "h1"), one(3, "h2")]
    assert manifest.chain_faults(whole) == []
    assert manifest.chain_faults([whole[0], whole[2]]) == ["manifest 2 is not here"]
    assert manifest.chain_faults([whole[0], whole[2]], frozenset({2})) == []
    assert manifest.chain_faults([one(1, "h0")]) == ["manifest 1 is not the first: something stood before it"]
    assert "does not follow manifest 2" in manifest.chain_faults([*whole[:2], one(3, "hx")])[0]
    assert "is there twice" in manifest.chain_faults([*whole, one(3, "h2")])[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "other"}', "[" * 100_000])
def test_what_is_no_manifest_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.manifest.json"
    file.write_text(text)
    with pytest.raises(DriverError, match="is no manifest"):
        manifest.read(file)
    assert "is no manifest" in manifest.check(file).faults[0]


@pytest.mark.parametrize("facts", [{"seq": "x"}, {"seq": None}, {"incident": 7}, {"prev": 1}])
def test_a_manifest_whose_place_in_the_chain_is_nonsense_is_none(
    tmp_path: Path, facts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"incident": "i", "files": [], "seq": 1, "prev": manifest.START, "type": manifest.TYPE} | facts
    key = keys.make(tmp_path / "k")
    given["public_key"] = keys.public_text(key)
    digest = manifest._hash(given)
    whole = given | {"hash": digest, "sig": keys.sign(key, digest.encode())}
    (tmp_path / "x.manifest.json").write_text(json.dumps(whole))
    assert main(["evidence", "verify", str(tmp_path)]) == 1
    assert "is no manifest" in capsys.readouterr().out


def test_a_pipe_is_no_manifest_and_nobody_waits_for_it(tmp_path: Path) -> None:
    pipe = tmp_path / "x.manifest.json"
    os.mkfifo(pipe)
    assert "is no file" in manifest.check(pipe).faults[0]


def test_a_manifest_that_names_a_file_elsewhere_is_not_followed(tmp_path: Path) -> None:
    key = keys.make(tmp_path / "k")
    body = {"incident": "i", "files": [{"name": "../k", "sha256": "0"}]}
    file = tmp_path / "x.manifest.json"
    file.write_text(json.dumps(manifest.signed(body, seq=1, prev=manifest.START, key=key)))
    assert manifest.check(file).faults == ("../k: is no name of a file",)


async def test_show_tells_a_set_in_words(parked: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edge_agent.uplink.evidence_store import EvidenceStore

    found = await parked.closed()
    EvidenceStore(tmp_path / "evidence.db").close()
    assert main(["evidence", "show", found["incident"], "--data-dir", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "plate 京A12345, 3 votes" in told
    assert "warned 2001-09-09T01:46:45.000Z on horn: Please drive on. (delivered)" in told
    assert main(["evidence", "show", "nobody", "--data-dir", str(tmp_path)]) == 69
