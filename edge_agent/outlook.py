"""What the agent shows of itself: to the command line, to Prometheus, and on the retained topics."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from edge_agent import __version__, config
from edge_agent.runtime import Health, LoopLag, watchdog_period_s
from edge_agent.twin import FlightState, GpsState, PartsState

if TYPE_CHECKING:
    from edge_agent.desired import Wishes
    from edge_agent.flight.pilot import Pilot
    from edge_agent.flight.visitor import Visitor
    from edge_agent.incidents.hotlist_store import HotLists
    from edge_agent.uplink.evidence import Evidence
    from edge_agent.uplink.evidence_upload import Uploader
    from edge_agent.uplink.metrics import Snapshot
    from edge_agent.uplink.mqtt import Uplink
    from edge_agent.uplink.outbox import Outbox
    from edge_agent.vision.clips import Clips
    from edge_agent.vision.pipeline import Vision


class Outlook:
    """Reads the parts, and changes nothing but what is known of the ballast's health."""

    def __init__(
        self,
        settings: config.Agent,
        *,
        health: Health,
        lag: LoopLag,
        outbox: Outbox,
        uplink: Uplink | None,
        pilot: Pilot | None,
        evidence: Evidence,
        uploader: Uploader | None,
        wishes: Wishes,
        lists: HotLists,
        clips: Clips | None,
        vision: Vision | None,
        visitor: Visitor | None = None,
    ) -> None:
        self.settings, self.health, self.lag = settings, health, lag
        self.outbox, self.uplink, self.pilot = outbox, uplink, pilot
        self.evidence, self.uploader, self.visitor = evidence, uploader, visitor
        self.wishes, self.lists, self.clips, self.vision = wishes, lists, clips, vision

    def status(self) -> dict[str, Any]:
        """What `edge-agent status` shows."""
        return {
            "version": __version__,
            "device": self.settings.site.device,
            "pid": os.getpid(),
            "parts": self.health.state,
            "counts": dict(self.health.counts),
            "loop_lag_p99_ms": round(self.lag.p99_ms(), 1),
            "flight": self.pilot.status() if self.pilot else None,
            "visits": self.visitor.status() if self.visitor else None,
            "outbox": self.outbox.stats(),
            "evidence": self.evidence.status() | (self.uploader.status() if self.uploader else {}),
            "cameras": self.vision.status() if self.vision else {},
            "zones": self.wishes.zones(),
            "hot_lists": self.lists.status(),
            "clips": self.clips.status() if self.clips else {},
        }

    def snapshot(self) -> Snapshot:
        """What Prometheus scrapes."""
        from edge_agent.uplink.metrics import Snapshot

        window = self.uplink.window if self.uplink else None
        return Snapshot(
            version=__version__,
            device=self.settings.site.device,
            outbox=self.outbox.stats(),
            outbox_totals=dict(self.outbox.counts),
            ballast=self.outbox.ballast,
            pressure=self.outbox.pressure(),
            counts=dict(self.health.counts),
            parts=dict(self.health.state),
            stuck=len(self.health.stuck()),
            watched=watchdog_period_s() is not None,
            lag_p99_s=self.lag.p99_ms() / 1000,
            connected=bool(self.uplink and self.uplink.connected),
            window=window.limit if window else 0,
            in_flight=len(window.in_flight) if window else 0,
        )

    def look(self) -> None:
        """Once a second: what has changed is told."""
        self._look_at_ballast()
        self._tell_states()

    def _look_at_ballast(self) -> None:
        if self.outbox.ballast == "gone":
            mib = self.settings.outbox.ballast_mib
            why = f"the disk is full, or was: free {2 * mib} MiB for the outbox.ballast_mib = {mib} to come back"
            self.health.set("outbox.ballast", f"failed: {why}")
        elif self.outbox.ballast == "held":
            self.health.set("outbox.ballast", "running")

    def _tell_states(self) -> None:
        """How each group of parts stands, for the retained topics; the uplink tells what has changed."""
        if not self.uplink:
            return
        for group, prefix in (("camera", "camera."), ("speaker", "speaker ")):
            parts = {
                name.removeprefix(prefix): how for name, how in self.health.state.items() if name.startswith(prefix)
            }
            if parts:
                self.uplink.state(group, PartsState(parts=parts))
        if self.pilot is None:
            return
        t = self.pilot.telemetry
        mode, armed, fix = (t.mode, t.armed, t.gps_fix) if t else (None, None, None)
        phase, run, route = self.pilot.phase, self.pilot.run_id, self.pilot.route_id
        level = self.pilot.patrol_level
        state = FlightState(phase=phase, mode=mode, armed=armed, run=run, route=route, level=level)
        self.uplink.state("flight", state)
        self.uplink.state("gps", GpsState(fix=fix))
