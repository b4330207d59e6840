"""What other programs' files come to; what is wrong with them is named, item by item."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.plans import files, qgc, wpl
from edge_agent.plans.model import Fence, FenceCircle, FencePolygon, Place, Plan, PlanError, Rally

LAT, LON = 47.3977, 8.5456


def simple(command: int, *params: float | None, frame: int = 3, number: int = 0) -> dict[str, object]:
    return {
        "autoContinue": True, "command": command, "doJumpId": number, "frame": frame,
        "params": [*params, *[0] * (7 - len(params))], "type": "SimpleItem", "AltitudeMode": 1,
    }  # fmt: skip


def at(north: int, east: int = 0, alt_m: float = 50, hold_s: float = 0, **more: int) -> dict[str, object]:
    return simple(16, hold_s, 0, 0, None, LAT + north * 1e-4, LON + east * 1e-4, alt_m, **more)


TAKEOFF, RETURN = simple(22, 0, 0, 0, None, LAT, LON, 50), simple(20, frame=2)


def plan(*items: dict[str, object], **more: object) -> bytes:
    """The near-minimal file of QGroundControl's developer guide, with these items."""
    mission = {
        "cruiseSpeed": 15, "firmwareType": 3, "globalPlanAltitudeMode": 1, "hoverSpeed": 5, "items": items,
        "plannedHomePosition": [LAT, LON, 408], "vehicleType": 2, "version": 2,
    }  # fmt: skip
    return json.dumps(
        {
            "fileType": "Plan", "geoFence": {"circles": [], "polygons": [], "version": 2},
            "groundStation": "QGroundControl", "mission": mission, "rallyPoints": {"points": [], "version": 2},
            "version": 1, **more,
        }
    ).encode()  # fmt: skip


def refused(data: bytes, name: str = "x.plan") -> str:
    with pytest.raises(PlanError) as refusal:
        files.parse(data, Path(name))
    assert str(refusal.value).startswith(f"{name}: ")
    return str(refusal.value)


def places(data: bytes, name: str = "x.plan") -> list[int]:
    """How far north each place is, in ten-thousandths of a degree."""
    return [round((p.lat - LAT) * 1e4) for p in files.parse(data, Path(name)).places]


def test_a_plan_becomes_places_with_heights_holds_and_speed():
    found = files.parse(
        plan(TAKEOFF, simple(178, 1, 7, frame=2), at(1, hold_s=4), at(2, alt_m=30), RETURN), Path("x.plan")
    )
    assert [(p.alt_m, p.hold_s) for p in found.places] == [(50, 4), (30, 0)]
    assert (found.speed_mps, found.home) == (7, (LAT, LON))


def test_the_hover_speed_of_the_plan_is_its_speed_where_no_item_names_one():
    assert files.parse(plan(TAKEOFF, at(1), RETURN), Path("x.plan")).speed_mps == 5


@pytest.mark.parametrize("kind", ["survey", "CorridorScan", "StructureScan"])
def test_a_complex_item_is_flown_as_it_is_expanded_in_the_file(kind):
    inside = [at(1), simple(206, 25, 0, 1, frame=2), at(2), simple(206, frame=2)]
    item = {"type": "ComplexItem", "complexItemType": kind, "TransectStyleComplexItem": {"Items": inside, "version": 1}}
    data = plan(TAKEOFF, item, at(3), RETURN)
    assert places(data) == [1, 2, 3]
    assert files.parse(data, Path("x.plan")).notes == (
        "left out, as they do not change the path: DO_SET_CAM_TRIGG_DIST",
    )


def test_laps_are_unrolled_and_counted_once_per_flight():
    jump = simple(177, 2, 2, frame=2, number=4)
    data = plan(TAKEOFF | {"doJumpId": 1}, at(1, number=2), at(2, number=3), jump, at(3, number=5), RETURN)
    assert places(data) == [1, 2, 1, 2, 1, 2, 3]


def test_a_delay_is_a_hold_of_the_place_before_it():
    found = files.parse(plan(at(1, hold_s=2), simple(93, 5, -1, -1, -1, frame=2), RETURN), Path("x.plan"))
    assert [p.hold_s for p in found.places] == [7]


def test_fence_and_rally_points_come_along():
    ring = [[LAT - 1e-2, LON - 1e-2], [LAT - 1e-2, LON + 1e-2], [LAT + 1e-2, LON]]
    found = files.parse(
        plan(
            at(1),
            geoFence={
                "version": 2,
                "polygons": [{"polygon": ring, "inclusion": True, "version": 1}],
                "circles": [{"circle": {"center": [LAT, LON], "radius": 20.5}, "inclusion": False, "version": 1}],
            },
            rallyPoints={"version": 2, "points": [[LAT, LON, 40]]},
        ),
        Path("x.plan"),
    )
    assert found.fence.polygons[0].corners[2] == (LAT + 1e-2, LON)
    assert found.fence.circles == (FenceCircle(lat=LAT, lon=LON, radius_m=20.5, inclusion=False),)
    assert found.rally == (Rally(lat=LAT, lon=LON, alt_m=40),)


LONG = [at(n % 90) for n in range(700)]


@pytest.mark.parametrize(
    ("items", "wanted"),
    [
        ([at(1, number=1), simple(177, 1, -1, frame=2, number=2)], ["items[1]", "DO_JUMP", "never ends", "-1"]),
        ([at(1, number=1), simple(177, 9, 2, frame=2, number=2)], ["items[1]", "not there", "9"]),
        ([at(1, number=1), simple(177, 1, None, frame=2, number=2)], ["items[1]", "DO_JUMP without"]),
        ([at(1, number=1), at(2, number=1), simple(177, 1, 2, frame=2)], ["items[2]", "more than once"]),
        ([simple(178, 2, 1.5, frame=2), at(1)], ["items[0]", "climb or descent", "type 2"]),
        ([at(1, number=1), simple(177, 2, 30000, frame=2, number=2)], ["unrolled", "500"]),
        ([at(1, number=1), simple(177, 1, 30000, frame=2, number=2)], ["unrolled", "500"]),
        ([at(1), simple(16, 0, 0, 0, None, 0, 0, 50)], ["items[1]", "0/0"]),
        ([at(1, frame=0)], ["items[0]", "above sea level", "relative to launch"]),
        ([at(1, frame=10)], ["items[0]", "terrain"]),
        ([at(1, frame=1)], ["items[0]", "local frame"]),
        ([at(1, alt_m=-5)], ["items[0]", "below the take-off place", "-5 m"]),
        ([at(1, alt_m=9000)], ["items[0]", "9000 m", "500 m"]),
        ([simple(16, 0, 0, 0, None, 91, 8, 50)], ["items[0]", "91"]),
        ([simple(16, 0, 0, 0, None, None, 8, 50)], ["items[0]", "without latitude"]),
        (LONG, ["700", "500", "several routes"]),
        ([at(1), simple(17, 0, 0, 0, 0, LAT, LON, 50)], ["items[1]", "NAV_LOITER_UNLIM"]),
        ([at(1), simple(84, 0, 0, 0, 0, LAT, LON, 50)], ["items[1]", "NAV_VTOL_TAKEOFF"]),
        ([at(1), simple(64999)], ["items[1]", "command 64999"]),
        ([at(1), simple(21, 0, 0, 0, 0, LAT + 1, LON, 0)], ["items[1]", "LAND", "from home"]),
        ([at(1), RETURN, at(2)], ["items[2]", "after the end"]),
        ([at(1), TAKEOFF], ["items[1]", "second take-off"]),
        ([at(1), simple(178, 1, 99, frame=2)], ["items[1]", "speed", "30 m/s"]),
        ([at(1) | {"type": "Teleport"}], ["items[0]", "Teleport"]),
        ([at(1), {"type": "ComplexItem", "complexItemType": "fwLandingPattern"}], ["items[1]", "fwLandingPattern"]),
        ([{"type": "ComplexItem", "complexItemType": "survey"}], ["items[0]", "survey", "not expanded"]),
        ([at(1) | {"params": [0, 0]}], ["items[0].params", "seven"]),
        ([at(1) | {"params": [0, 0, 0, 0, "north", 8, 50]}], ["items[0].params[4]", "str"]),
        ([], ["no place to fly to"]),
    ],
)  # fmt: skip
def test_what_is_not_flown_is_refused_by_name_and_place(items, wanted):
    said = refused(plan(*items))
    assert all(word in said for word in wanted), said


def test_of_thousands_of_faults_the_first_are_told_and_the_others_counted():
    lines = refused(plan(*(at(1, alt_m=-1) for _ in range(500)))).splitlines()
    assert len(lines) == 51
    assert "and 450 faults more" in lines[-1]


def test_text_that_is_no_json_is_shown_where_it_breaks():
    assert "near '" in refused(plan(at(1)).replace(b"50", b"NaN"))
    assert "NaN" in refused(plan(at(1)).replace(b"50", b"NaN"))


@pytest.mark.parametrize("name", ["x.plan", "x.waypoints", "x.geojson", "x.kml"])
def test_a_byte_order_mark_does_no_harm(name):
    data = {"x.plan": SEEDS[0], "x.waypoints": SEEDS[1], "x.geojson": SEEDS[2], "x.kml": SEEDS[3]}[name]
    assert files.parse(b"\xef\xbb\xbf" + data, Path(name)) == files.parse(data, Path(name))


def test_heights_of_a_map_are_said_to_be_left_out():
    assert (
        "heights that 1 shapes name are left out"
        in files.parse(geojson(feature("Point", [LON, LAT, 80])), Path("x.json")).notes[0]
    )
    assert not files.parse(geojson(feature("Point", [LON, LAT, 0])), Path("x.json")).notes


def test_every_fault_of_a_file_is_named_not_only_the_first():
    said = refused(plan(at(1, frame=0), at(1, alt_m=-1), simple(17)))
    assert [f"items[{n}]" in said for n in range(3)] == [True, True, True]


@pytest.mark.parametrize("cut", [1, 40, 400, -3])
def test_a_truncated_plan_is_refused(cut):
    assert "the file" in refused(plan(at(1), at(2))[:cut])


def test_a_version_that_is_not_known_is_refused():
    assert "version" in refused(plan(at(1), version=9))


# --- QGC WPL 110: the example of https://mavlink.io/en/file_formats/ ------------------------------------------------

WPL = b"""QGC WPL 110
0\t1\t0\t16\t0.149999999999999994\t0\t0\t0\t8.54800000000000004\t47.3759999999999977\t550\t1
1\t0\t3\t16\t0.149999999999999994\t0\t0\t0\t8.54800000000000004\t47.3759999999999977\t55\t1
2\t0\t3\t16\t0.149999999999999994\t0\t0\t0\t8.54800000000000004\t47.3759999999999977\t50\t1
"""


def test_the_example_of_the_format_is_read_and_its_first_item_is_home():
    found = wpl.read(WPL, "x.waypoints")
    assert [p.alt_m for p in found.places] == [55, 50]
    assert found.home == (8.548, 47.376)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (b"QGC WPL 110", b"QGC WPL 100", "line 1"),
        (b"\t50\t1", b"\t50", "line 4: not twelve columns"),
        (b"\t50\t1", b"\thigh\t1", "line 4"),
        (b"2\t0\t3\t16", b"2\t0\t3\t177", "line 4 (item 2): DO_JUMP"),
        (b"2\t0\t3\t16", b"2\t0\t0\t16", "above sea level"),
    ],
)
def test_a_line_that_is_wrong_is_named(old, new, wanted):
    assert wanted in refused(WPL.replace(old, new), "x.waypoints")


# --- maps -----------------------------------------------------------------------------------------------------------

SQUARE = [[LON, LAT], [LON + 1e-3, LAT], [LON + 1e-3, LAT + 1e-3], [LON, LAT + 1e-3], [LON, LAT]]


def feature(kind: str, coordinates: object, **properties: str) -> dict[str, object]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}


def geojson(*features: dict[str, object]) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def test_points_lines_areas_and_roles_of_geojson():
    found = files.parse(
        geojson(
            feature("Point", [LON, LAT, 12.5]),
            feature("LineString", [[LON, LAT], [LON, LAT + 1e-3]]),
            feature("Polygon", [SQUARE]),
            feature("Polygon", [SQUARE], role="fence"),
            feature("Polygon", [SQUARE], name="Exclusion of the school"),
            feature("Point", [LON, LAT], role="rally"),
            feature("Point", [LON, LAT], role="home"),
        ),
        Path("x.geojson"),
    )
    assert [shape.kind for shape in found.shapes] == ["point", "line", "area"]
    assert len(found.places) > 5
    assert [p.inclusion for p in found.fence.polygons] == [True, False]
    assert (len(found.rally), found.home) == (1, (LAT, LON))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"{", "not JSON"),
        (b"[]", "no GeoJSON"),
        (geojson(feature("Circle", [0, 1])), "features[0]: Circle is not a shape"),
        (geojson(feature("Point", [LON, LAT]), feature("Point", [LAT, 147])), "features[1]: no place on Earth"),
        (geojson(feature("Point", [0, 0])), "0/0"),
        (geojson(feature("Point", "here")), "features[0].coordinates"),
        (geojson(feature("Point", [10**400, 1])), "features[0]"),
        (geojson(feature("Polygon", [SQUARE, SQUARE])), "holes"),
        (geojson(feature("Polygon", [SQUARE[:2]])), "too few corners"),
        (geojson(feature("Point", [LON, LAT], role="fence")), "fence is an area"),
        (geojson(), "no point, line or area"),
    ],
)
def test_a_map_that_is_wrong_is_refused_by_place(data, wanted):
    assert wanted in refused(data, "x.geojson")


KML = """<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2"><Document>
<Placemark><name>gate</name><Point><coordinates>8.5456,47.3977,0</coordinates></Point></Placemark>
<Placemark><name>bank</name>
<LineString><coordinates>8.5456,47.3977 8.5466,47.3977</coordinates></LineString></Placemark>
<Placemark><name>fence</name><Polygon><outerBoundaryIs><LinearRing><coordinates>
8.54,47.39,0 8.56,47.39,0 8.56,47.41,0 8.54,47.39,0
</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>
</Document></kml>"""


def test_placemarks_of_kml_become_shapes_and_fences():
    found = files.parse(KML.encode(), Path("x.kml"))
    assert [(shape.kind, shape.name) for shape in found.shapes] == [("point", "gate"), ("line", "bank")]
    assert found.fence.polygons[0].corners == ((47.39, 8.54), (47.39, 8.56), (47.41, 8.56))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (KML[:200], "not XML"),
        ("<gpx></gpx>", "not <kml>"),
        (KML.replace("8.5456,47.3977,0<", "here<"), "'gate'"),
        (KML.replace("<kml", "<!DOCTYPE kml [<!ENTITY a 'b'>]><kml"), "document type"),
        (KML.replace("Point>", "Model>"), "Model is not a shape"),
        (KML.replace("8.5456,47.3977,0<", "8.5456, 47.3977, 0<"), "got '8.5456,'"),
        ("<kml>" + "<Placemark>" * 50_000 + "</Placemark>" * 50_000 + "</kml>", "nested too deeply"),
    ],
)
def test_kml_that_is_wrong_is_refused(data, wanted):
    assert wanted in refused(data.encode(), "x.kml")


def test_an_ending_that_is_not_known_names_those_that_are():
    assert ".plan" in refused(b"", "x.gpx")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"none\.plan: the file: cannot be read: No such file"):
        files.read(tmp_path / "none.plan")


# --- export -----------------------------------------------------------------------------------------------------------

degrees = st.floats(-80, 80).map(lambda value: round(value, 7)).filter(lambda value: abs(value) > 1e-3)
place = st.builds(
    Place,
    lat=degrees,
    lon=degrees,
    alt_m=st.integers(1, 5000).map(lambda dm: dm / 10),
    hold_s=st.integers(0, 600).map(float),
)
corner = st.tuples(degrees, degrees)
fences = st.builds(
    Fence,
    polygons=st.lists(
        st.builds(FencePolygon, corners=st.lists(corner, min_size=3, max_size=6).map(tuple), inclusion=st.booleans()),
        max_size=2,
    ).map(tuple),
    circles=st.lists(
        st.builds(FenceCircle, lat=degrees, lon=degrees, radius_m=st.floats(1, 900), inclusion=st.booleans()),
        max_size=2,
    ).map(tuple),
)
plans = st.builds(
    Plan, places=st.lists(place, min_size=1, max_size=8).map(tuple), home=corner,
    speed_mps=st.integers(1, 30).map(float), fence=fences,
    rally=st.lists(st.builds(Rally, lat=degrees, lon=degrees, alt_m=st.floats(1, 500)), max_size=2).map(tuple),
)  # fmt: skip


def bare(found: Plan) -> Plan:
    """Without the names of items, which an export gives anew."""
    return Plan(
        places=tuple(Place(lat=p.lat, lon=p.lon, alt_m=p.alt_m, hold_s=p.hold_s) for p in found.places),
        home=found.home, speed_mps=found.speed_mps, fence=found.fence, rally=found.rally,
    )  # fmt: skip


@given(plans)
def test_an_exported_plan_reads_back_the_same(written):
    assert bare(qgc.read(qgc.write(written), "x.plan")) == written


@given(plans)
def test_exported_waypoints_read_back_the_same(written):
    found = bare(wpl.read(wpl.write(written), "x.waypoints"))
    assert (found.places, found.home, found.speed_mps) == (written.places, written.home, written.speed_mps)


def test_an_exported_plan_has_the_structure_that_qgroundcontrol_wants():
    """Its developer guide, file_formats/plan.html: the keys of the file, the mission, an item, a fence."""
    fence = Fence(
        polygons=(FencePolygon(corners=((1, 2), (3, 4), (5, 7))),), circles=(FenceCircle(lat=1, lon=2, radius_m=3),)
    )
    written = Plan(places=(Place(lat=LAT, lon=LON, alt_m=30.5, hold_s=2),), home=(LAT, LON), speed_mps=6, fence=fence)
    found = json.loads(qgc.write(written))
    assert set(found) == {"fileType", "geoFence", "groundStation", "mission", "rallyPoints", "version"}
    assert set(found["mission"]) == {
        "cruiseSpeed", "firmwareType", "globalPlanAltitudeMode", "hoverSpeed", "items", "plannedHomePosition",
        "vehicleType", "version",
    }  # fmt: skip
    assert found["mission"]["items"][2] == {
        "AMSLAltAboveTerrain": None, "Altitude": 30.5, "AltitudeMode": 1, "autoContinue": True, "command": 16,
        "doJumpId": 3, "frame": 3, "params": [2, 0, 0, None, LAT, LON, 30.5], "type": "SimpleItem",
    }  # fmt: skip
    assert [item["command"] for item in found["mission"]["items"]] == [22, 178, 16, 20]
    assert found["geoFence"]["polygons"] == [{"inclusion": True, "polygon": [[1, 2], [3, 4], [5, 7]], "version": 1}]
    assert found["geoFence"]["circles"] == [
        {"circle": {"center": [1, 2], "radius": 3}, "inclusion": True, "version": 1}
    ]


# --- hostile ----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["x.plan", "x.waypoints", "x.geojson", "x.kml"])
SEEDS = (plan(TAKEOFF, at(1), RETURN), WPL, geojson(feature("Polygon", [SQUARE])), KML.encode())


def survives(data: bytes, name: str) -> None:
    try:
        found = files.parse(data, Path(name))
    except PlanError as refusal:
        assert all(fault.where and fault.reason for fault in refusal.faults)
        assert refusal.faults
    else:
        assert all(-90 <= p.lat <= 90 and -180 <= p.lon <= 180 and 0 < p.alt_m <= 500 for p in found.places)


@given(st.binary(max_size=300), NAMES)
def test_any_bytes_are_a_route_or_a_clear_refusal(data, name):
    survives(data, name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["type", "coordinates", "features", "geometry", "params", "command", "items", "mission"]), inner
    ),
    max_leaves=12,
)  # fmt: skip


@given(json_values, st.sampled_from(["features", "geometry", "coordinates", "mission", "geoFence", "rallyPoints"]))
def test_a_map_or_a_plan_with_any_value_in_it_is_survived(value, key):
    survives(json.dumps(json.loads(SEEDS[0]) | {key: value}).encode(), "x.plan")
    survives(
        json.dumps({"type": "FeatureCollection", "features": [feature("Polygon", value), value]}).encode(), "x.json"
    )


@given(st.data())
def test_a_good_file_with_some_bytes_changed_is_survived(data):
    seed, name = data.draw(
        st.sampled_from(list(zip(SEEDS, ("x.plan", "x.waypoints", "x.geojson", "x.kml"), strict=True)))
    )
    cut = data.draw(st.integers(0, len(seed)))
    gone = data.draw(st.integers(0, 6))
    survives(seed[:cut] + data.draw(st.binary(max_size=6)) + seed[cut + gone :], name)
