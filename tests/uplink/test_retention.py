from hypothesis import given
from hypothesis import strategies as st

from edge_agent.uplink.retention import DAY_S, Kept, due

NOW = 1_795_310_283.0


def kept(id: str, *, age_days: float = 0.0, size: int = 100, received: bool = False, **more: object) -> Kept:
    facts = {"kind": "picture", "hold": False} | more
    return Kept(id=id, bytes=size, wall_s=NOW - age_days * DAY_S, received=received, **facts)  # type: ignore[arg-type]


def names(files: list[Kept], *, quota: int = 10**9, short: int = 0, days: float = 30.0) -> list[str]:
    return [d.id for d in due(files, wall_s=NOW, keep_days=lambda _: days, quota_bytes=quota, short_bytes=short)]


def test_age_takes_what_the_centre_has_and_never_what_it_has_not() -> None:
    files = [kept("old", age_days=31, received=True), kept("unsent", age_days=3100), kept("young", received=True)]
    [drop] = due(files, wall_s=NOW, keep_days=lambda _: 30, quota_bytes=10**9)
    assert (drop.id, drop.lost) == ("old", False)
    assert "keep_days" in drop.why


def test_what_is_held_stays_whatever_its_age_and_the_quota() -> None:
    assert names([kept("held", age_days=400, received=True, hold=True)], quota=0, short=10**9) == []


def test_over_the_quota_received_files_go_first_then_clips_then_pictures_oldest_first() -> None:
    files = [
        kept("picture-new", age_days=1),
        kept("picture-old", age_days=9),
        kept("clip-new", age_days=1, kind="clip"),
        kept("clip-old", age_days=9, kind="clip"),
        kept("received", age_days=0.1, received=True),
    ]
    assert names(files, quota=0) == ["received", "clip-old", "clip-new", "picture-old", "picture-new"]
    assert names(files, quota=400) == ["received"]
    assert names(files, quota=399) == ["received", "clip-old"]


def test_what_goes_unsent_is_called_lost_and_says_why() -> None:
    [drop] = due([kept("a")], wall_s=NOW, keep_days=lambda _: 30, quota_bytes=50)
    assert drop.lost
    assert drop.why == "over max_mib"
    [drop] = due([kept("a")], wall_s=NOW, keep_days=lambda _: 30, quota_bytes=1000, short_bytes=1)
    assert drop.lost
    assert drop.why == "the disk is short of space"


def test_what_age_takes_counts_toward_the_quota() -> None:
    assert names([kept("old", age_days=31, received=True), kept("unsent")], quota=100) == ["old"]


def test_a_clock_that_went_back_deletes_nothing() -> None:
    assert names([kept("tomorrow", age_days=-1, received=True)]) == []


FILES = st.lists(
    st.builds(
        Kept,
        id=st.uuids().map(str),
        kind=st.sampled_from(["picture", "clip"]),
        bytes=st.integers(0, 1000),
        wall_s=st.floats(NOW - 100 * DAY_S, NOW + DAY_S),
        received=st.booleans(),
        hold=st.booleans(),
    ),
    max_size=30,
    unique_by=lambda file: file.id,
)


@given(files=FILES, quota=st.integers(0, 20_000), short=st.integers(0, 5_000))
def test_enough_goes_no_more_than_needed_and_nothing_unsent_while_received_ones_remain(
    files: list[Kept], quota: int, short: int
) -> None:
    drops = due(files, wall_s=NOW, keep_days=lambda _: 30, quota_bytes=quota, short_bytes=short)
    gone = {drop.id for drop in drops}
    left = [file for file in files if file.id not in gone]
    freed = sum(file.bytes for file in files) - sum(file.bytes for file in left)
    fits = sum(file.bytes for file in left) <= quota and freed >= short
    assert fits or all(file.hold for file in left)
    assert not any(file.hold for file in files if file.id in gone)
    if any(drop.lost for drop in drops):
        assert all(file.hold or not file.received for file in left)
        last = next(file for file in files if file.id == drops[-1].id)
        need = max(sum(file.bytes for file in files) - quota, short)
        assert freed - last.bytes < need
