"""Originals in a person's hands: held, released, deleted; every step is on record before it is done."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent.audit import Audit
from edge_agent.cli import main
from edge_agent.config import Evidence as Section
from edge_agent.messages import Originals
from edge_agent.runtime import DriverError, Health
from edge_agent.topics import Answered, Gap, Receipt
from edge_agent.uplink.custody import Custody
from edge_agent.uplink.evidence import Evidence


class Desk:
    """Three originals of two incidents: the centre has `one.jpg` and `two.jpg`, and not `two.mp4`."""

    def __init__(self, directory: Path, clock: Any, **options: Any) -> None:
        self.directory = directory
        self.told: list[tuple[str, msgspec.Struct]] = []
        self.full = False
        common: dict[str, Any] = {"audit": Audit(directory), "clock": clock, "health": Health(clock)}
        self.evidence = Evidence(directory, Section(**options), report=self.report, **common)
        self.custody = Custody(self.evidence, self.report)

    async def begin(self) -> None:
        (self.directory / "incidents").mkdir()
        for name in ("one.jpg", "two.jpg", "two.mp4"):
            path = self.directory / "incidents" / name
            path.write_bytes(b"x" * 10)
            kind = "clip" if name.endswith("mp4") else "picture"
            await self.evidence.keep(path, kind=kind, incident=name[:3], sha256="00", bytes=10, wall_s=1e9)
        for item in await self.evidence.items():
            if item.kind == "picture":
                receipt = Receipt(id=item.id, sha256="00", bytes=10, stored_at="2026-11-22T00:00:00.000Z")
                await self.evidence.received(item, receipt)
        self.told.clear()

    async def report(self, kind: str, data: msgspec.Struct, *, id: str | None = None) -> int:
        if self.full:
            raise DriverError("events.db: full")
        self.told.append((kind, data))
        return len(self.told)

    async def ask(self, verb: Any, *ids: str, **options: Any) -> tuple[str, str]:
        reply = await self.custody.execute(Originals(verb=verb, ids=ids, **options), "local:0")
        return reply.state, reply.reason or ""

    def there(self) -> set[str]:
        return {path.name for path in (self.directory / "incidents").iterdir()}


@pytest.fixture
async def desk(tmp_path: Path, clock: Any) -> AsyncIterator[Desk]:
    made = Desk(tmp_path, clock)
    await made.begin()
    yield made
    await made.evidence.close()


async def test_what_is_held_outlives_its_time_and_a_wish_to_delete_it(desk: Desk) -> None:
    assert await desk.ask("hold", "one", reason="case 7") == ("done", "hold: 1 originals: one.jpg: case 7")
    [(kind, record)] = desk.told
    assert kind == "audit" and isinstance(record, Answered)
    assert (record.name, record.by) == ("evidence.hold", "local:0")
    [logged] = Audit(desk.directory).find("evidence.hold")
    assert (logged["by"], logged["facts"]) == ("local:0", {"file": "one.jpg", "why": "case 7"})
    state, why = await desk.ask("delete", "one.jpg")
    assert state == "rejected" and "release it first" in why
    await desk.evidence.tidy()
    assert "one.jpg" in desk.there()
    await desk.ask("release", "one.jpg")
    await desk.evidence.tidy()
    assert "one.jpg" not in desk.there()


async def test_what_the_centre_has_not_is_deleted_by_a_word_more_and_leaves_a_gap(desk: Desk) -> None:
    state, why = await desk.ask("delete", "two")
    assert state == "rejected" and "two.mp4" in why and "--unconfirmed" in why
    assert (await desk.ask("delete", "two", unconfirmed=True, dry_run=True))[0] == "done"
    assert (desk.told, len(desk.there())) == ([], 3)
    assert (await desk.ask("delete", "two", unconfirmed=True))[0] == "done"
    assert desk.there() == {"one.jpg"}
    assert [kind for kind, _ in desk.told] == ["audit", "gap"]
    gap = desk.told[1][1]
    assert isinstance(gap, Gap) and gap.evidence is not None and gap.evidence.id == "two.mp4"
    assert "local:0 asked for it" in gap.reason


async def test_nothing_is_deleted_that_cannot_be_recorded(desk: Desk) -> None:
    desk.full = True
    with pytest.raises(DriverError, match="full"):
        await desk.ask("delete", "one")
    assert "one.jpg" in desk.there()


async def test_an_unknown_name_changes_nothing(desk: Desk) -> None:
    state, why = await desk.ask("delete", "one", "three")
    assert state == "rejected" and "'three'" in why and "evidence list" in why
    assert len(desk.there()) == 3


async def test_a_site_that_holds_everything_deletes_nothing(tmp_path: Path, clock: Any) -> None:
    desk = Desk(tmp_path, clock, hold=True)
    await desk.begin()
    state, why = await desk.ask("delete", "one")
    assert state == "rejected" and "evidence.hold" in why
    await desk.evidence.close()


async def test_the_list_says_what_is_where(desk: Desk, capsys: Any) -> None:
    await desk.ask("hold", "one")
    where = ["--data-dir", str(desk.directory), "--json"]
    assert main(["evidence", "list", "--waiting", *where]) == 0
    assert '"id":"two.mp4"' in capsys.readouterr().out
    assert main(["evidence", "list", "--held", *where]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if '"hold":true' not in line] == []
    assert main(["evidence", "list", "--data-dir", str(desk.directory)]) == 0
    assert "received           10 bytes  picture  one.jpg  held" in capsys.readouterr().out


def test_without_an_agent_nothing_is_held_and_it_says_so(tmp_path: Path, capsys: Any) -> None:
    assert main(["evidence", "hold", "x", "--data-dir", str(tmp_path)]) == 69
    assert "is `edge-agent run` up?" in capsys.readouterr().err
    assert main(["evidence", "list", "--data-dir", str(tmp_path)]) == 69
