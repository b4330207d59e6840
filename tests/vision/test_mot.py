"""The bench's measures of trackers, on sequences whose figures are computed by hand."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parent.parent.parent / "bench" / "mot.py"
A, B, FAR = (0.0, 0.0, 10.0, 10.0), (100.0, 0.0, 110.0, 10.0), (500.0, 0.0, 510.0, 10.0)


@pytest.fixture(scope="module")
def mot() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_mot", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_tracker_that_tells_the_truth_has_ones(mot: ModuleType) -> None:
    assert mot.score([({1: A, 2: B}, {7: A, 8: B})] * 10) == (1.0, 1.0, 1.0, 1.0, 1.0, 0)


def test_a_tracker_that_says_nothing_has_none(mot: ModuleType) -> None:
    assert mot.score([({1: A}, {})] * 10)[:3] == (0.0, 0.0, 0.0)


def test_misses_and_inventions_cost_mota_each(mot: ModuleType) -> None:
    frames = [({1: A, 2: B}, {7: A})] * 6 + [({1: A, 2: B}, {7: A, 9: FAR})] * 4
    told = mot.score(frames)
    assert told.mota == pytest.approx((10 - 4) / 20)  # 10 of 20 found, 4 invented
    assert told.idf1 == pytest.approx(2 * 10 / (20 + 14))
    assert told.deta == pytest.approx(10 / (10 + 10 + 4))


def test_an_id_that_changes_halfway_costs_half_the_association(mot: ModuleType) -> None:
    told = mot.score([({1: A}, {7: A})] * 5 + [({1: A}, {8: A})] * 5)
    assert (told.switches, told.mota) == (1, pytest.approx(0.9))
    assert told.idf1 == pytest.approx(2 * 5 / 20)
    assert (told.deta, told.assa) == (1.0, pytest.approx(0.5))  # of each half 5 / (10 + 5 - 5)
    assert told.hota == pytest.approx(math.sqrt(0.5))


def test_a_match_that_holds_is_not_given_up_for_a_better_one(mot: ModuleType) -> None:
    near, nearer = (2.0, 0.0, 12.0, 10.0), (1.0, 0.0, 11.0, 10.0)
    told = mot.score([({1: A}, {7: near})] * 3 + [({1: A}, {7: near, 8: nearer})] * 3)
    assert told.switches == 0 and told.mota == pytest.approx((6 - 3) / 6)


def test_a_loose_box_counts_for_hota_up_to_its_overlap(mot: ModuleType) -> None:
    told = mot.score([({1: A}, {7: (0.0, 0.0, 10.0, 6.0)})] * 4)  # IoU 0.6: 12 of 19 thresholds
    assert told.mota == 1.0 and told.hota == pytest.approx(12 / 19)
