"""A route's fence and rally points as the items of their transfers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.config import Route
from edge_agent.flight.mission import Item
from edge_agent.plans.model import Fence, FenceCircle, FencePolygon

_POLYGON = {
    True: mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION,
    False: mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION,
}
_CIRCLE = {
    True: mavlink.MAV_CMD_NAV_FENCE_CIRCLE_INCLUSION,
    False: mavlink.MAV_CMD_NAV_FENCE_CIRCLE_EXCLUSION,
}


def fence_items(route: Route) -> tuple[Item, ...]:
    """Polygons corner by corner, each corner with their number, then circles with their radius in metres."""
    shapes = [
        (_POLYGON[polygon.inclusion], float(len(polygon.corners)), lat, lon)
        for polygon in route.fence.polygons
        for lat, lon in polygon.corners
    ]
    shapes += [(_CIRCLE[c.inclusion], round(c.radius_m, 2), c.lat, c.lon) for c in route.fence.circles]
    return tuple(
        Item(
            seq=seq, frame=mavlink.MAV_FRAME_GLOBAL, command=command, p1=p1, x=round(lat * 1e7), y=round(lon * 1e7)
        )
        for seq, (command, p1, lat, lon) in enumerate(shapes)
    )  # fmt: skip


def rally_items(route: Route) -> tuple[Item, ...]:
    """Rally points; the autopilot keeps whole metres of their heights above home."""
    return tuple(
        Item(
            seq=seq,
            frame=mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT,
            command=mavlink.MAV_CMD_NAV_RALLY_POINT,
            x=round(rally.lat * 1e7),
            y=round(rally.lon * 1e7),
            z=float(round(rally.alt_m)),
        )
        for seq, rally in enumerate(route.rally)
    )


def fence_of(items: Sequence[Item]) -> Fence:
    """The fence that these items, as read back, are; corners that belong to no polygon are left out."""
    polygons: list[FencePolygon] = []
    circles: list[FenceCircle] = []
    at = 0
    while at < len(items):
        item = items[at]
        if item.command in _CIRCLE.values():
            inclusion = item.command == _CIRCLE[True]
            circles.append(FenceCircle(lat=item.x / 1e7, lon=item.y / 1e7, radius_m=item.p1, inclusion=inclusion))
            at += 1
            continue
        corners = items[at : at + max(int(item.p1), 1)]
        if len(corners) >= 3 and item.command in _POLYGON.values():
            places = tuple((corner.x / 1e7, corner.y / 1e7) for corner in corners)
            polygons.append(FencePolygon(corners=places, inclusion=item.command == _POLYGON[True]))
        at += len(corners)
    return Fence(polygons=tuple(polygons), circles=tuple(circles))
