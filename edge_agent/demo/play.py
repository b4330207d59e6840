"""The demo from curtain to curtain: raise the stage, look at it until all has happened, take it down, judge."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent import config, control, keys
from edge_agent.cli import key
from edge_agent.demo import FOLLOWS, scenario
from edge_agent.demo.judge import OBEYED, FarEnds, verdicts
from edge_agent.demo.screen import Screen, flight_row
from edge_agent.demo.stage import NotReadyError, Stage, free_port
from edge_agent.messages import Fly
from edge_agent.runtime import DriverError

LEAD_S = 10.0  # from the agent's start to the planned take-off
LOOK_S = 0.5
GRACE_S = 10.0  # for what is still on its way when the vehicle has landed
PATIENCE_S = 90.0  # more, where a link is late that should work: the machine may be busy
LONGEST_S = 300.0
TALK_S = 25.0  # after take-off the operator speaks, whatever was spoken before
ORDER_S = 15.0  # an order takes no longer than this to be spoken and reported
LATE_S = 15.0  # after its time, a take-off that has not begun will not
BREAK_S = 8.0  # after take-off was planned, a link that is to die dies


@dataclass
class Notes:
    """What must outlive a kill of the demo itself."""

    file: Path
    began_s: float = 0.0
    takeoff_s: float = 0.0
    broken: str | None = None
    embedded: bool = False
    asked: int = 1
    finished: bool = False
    restarts: int = 0
    replies: list[dict[str, Any]] = field(default_factory=list)
    died: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, directory: Path) -> Notes:
        """The notes of an earlier life in this directory, or fresh ones."""
        file = directory / "demo.json"
        try:
            return cls(file, **json.loads(file.read_text())) if file.exists() else cls(file)
        except (ValueError, TypeError) as error:
            raise NotReadyError(f"{file} cannot be read ({error}); remove {directory}, or give another --dir") from None

    def keep(self) -> None:
        """Write them down, whole or not at all."""
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps({name: value for name, value in vars(self).items() if name != "file"}))
        part.replace(self.file)


class Play:
    """One demo in one directory."""

    def __init__(self, directory: Path, screen: Screen, *, broken: str | None, embedded: bool, speedup: float) -> None:
        self._dir, self._screen = directory, screen
        self._speedup = speedup
        self._notes = Notes.of(directory)
        self._stage = Stage(directory)
        self._key = directory / "desk.key"
        self._told: set[str] = set()
        self._asked_s, self._asked_restarts = time.monotonic(), -1
        self._broken = broken
        if not self._notes.finished:
            self._notes.broken = broken or self._notes.broken
        self._notes.embedded = self._embedded = embedded or self._notes.embedded

    def run(self) -> FarEnds:
        """Play, or go on; where it was played to its end already, only look again. Returns what is at the far ends."""
        if self._notes.finished and self._notes.broken != self._broken and self._broken:
            raise NotReadyError(f"{self._dir}: was played to its end; --break {self._broken} needs another --dir")
        if self._notes.finished:
            self._screen.tell("this demo was played to its end before; here is its summary again")
            return self._far_ends(self._notes.died)
        try:
            self._raise_curtain()
            self._look_on()
            died = self._stage.died()
            self._take_down()
        finally:
            self._stage.stop_all()
        self._notes.finished, self._notes.restarts = True, self._notes.restarts + self._stage.restarts
        self._notes.died = died
        self._notes.keep()
        return self._far_ends(died)

    # --- up -------------------------------------------------------------------------------------------------------

    def _raise_curtain(self) -> None:
        tell = self._screen.tell
        if self._notes.began_s:
            tell("going on where it was cut off")
        for name in ("world", "centre"):
            (self._dir / name).mkdir(exist_ok=True)
        self._broker_port, self._vehicle_port = free_port(), free_port(socket.SOCK_DGRAM)
        self._stage.start(
            "broker",
            "edge_agent.centre.broker",
            f"--port={self._broker_port}",
            *(["--embedded"] if self._embedded else []),
            ready="ready",
        )
        tell(f"broker: {self._broker_name()}")
        self._stage.start(
            "centre",
            *("edge_agent", "centre", "run", "--host=127.0.0.1", f"--port={self._broker_port}"),
            f"--db={self._dir / 'centre' / 'centre.db'}",
            ready="ready",
        )
        self._stage.start(
            "vehicle",
            *("edge_agent", "simulate", f"--lat={scenario.HOME_LAT}", f"--lon={scenario.HOME_LON}"),
            f"--udpout=127.0.0.1:{self._vehicle_port}",
            f"--speedup={self._speedup}",
            f"--log={self._dir / 'world' / 'vehicle.jsonl'}",
            f"--state={self._dir / 'world' / 'vehicle.state'}",
        )
        self._start_agent(LEAD_S)
        tell("agent: started; its own weights see the rendered people and vehicles and read their plates")

    def _start_agent(self, lead_s: float) -> None:
        """Write its configuration, with a take-off planned for soon unless there was one, and start it."""
        from edge_agent.vision.camera.simulated import KERB_ZONE, WATER_ZONE

        notes, now = self._notes, time.time()
        notes.began_s = notes.began_s or now
        if not self._flew():
            notes.takeoff_s = now + lead_s
        notes.keep()
        text = scenario.agent_toml(
            vehicle_port=self._vehicle_port,
            broker_port=self._broker_port,
            began_s=notes.began_s,
            takeoff_s=notes.takeoff_s,
            water=WATER_ZONE,
            kerb=KERB_ZONE,
            operator=key.toml(self._key.stem, keys.public_text(self._operator()), "operator"),
            broken=notes.broken,
        )
        self._config = scenario.write(self._dir, text)
        self._agent_dir = config.load(self._config).data_dir
        self._stage.start("agent", "edge_agent", "run", f"--config={self._config}", "--log=text")

    def _plan_anew(self, far: FarEnds, status: dict[str, Any] | None) -> None:
        """A machine so busy that the agent was not up at the planned time has missed the take-off: plan another."""
        phase = ((status or {}).get("flight") or {}).get("phase")
        late = time.time() > self._notes.takeoff_s + 3.0
        if late and phase == "ground" and not far.of("mission") and self._notes.broken != "schedule":
            self._stage.stop("agent")
            self._asked_restarts = -1  # what the agent was about to say is cut off too
            self._start_agent(2 * LEAD_S)
            self._screen.tell("agent: was not ready at the planned time; the take-off is planned anew")

    def _operator(self) -> keys.Ed25519PrivateKey:
        """Who commands in this demo; the same person over a restart."""
        return keys.load(self._key) if self._key.exists() else keys.make(self._key)

    def _broker_name(self) -> str:
        from edge_agent.centre.broker import mosquitto

        return "amqtt, embedded" if self._embedded or not mosquitto() else "mosquitto"

    # --- on -------------------------------------------------------------------------------------------------------

    def _look_on(self) -> None:
        """Until all links have worked, or what is missing has had its time."""
        end = time.monotonic() + LONGEST_S
        landed_by: float | None = None
        while time.monotonic() < end:
            time.sleep(LOOK_S)
            before = self._stage.restarts
            self._stage.keep("agent")
            if self._stage.restarts > before:
                self._screen.tell("agent: died, and is started again")
            far, status = self._far_ends(self._stage.died()), self._ask()
            self._show(far, status)
            self._break(far)
            self._ask_by_mqtt(far, status)
            self._fly_again(far, status)
            self._plan_anew(far, status)
            judged = {verdict.link: verdict.ok for verdict in verdicts(far)}
            idle = not status or (status.get("outbox") or {}).get("depth") == 0
            if all(judged.values()) and idle:
                return
            if judged["vehicle"] or "vehicle" in far.died or self._grounded(far, status):
                landed_by = landed_by or time.monotonic() + GRACE_S
            else:
                landed_by = None
            awaited = {link for link, ok in judged.items() if not ok} - self._hopeless()
            if landed_by and time.monotonic() > landed_by + (PATIENCE_S if awaited else 0.0) and not self._talking():
                return

    def _hopeless(self) -> set[str]:
        """The links that cannot work, because one was broken on purpose."""
        broken = self._notes.broken
        return {broken, *FOLLOWS.get(broken, ())} if broken else set()

    def _break(self, far: FarEnds) -> None:
        """Kill the link that is to be broken by killing, in a flight; the others are broken by the configuration."""
        broken, stage = self._notes.broken, self._stage
        due = time.time() > self._notes.takeoff_s + BREAK_S and far.of("mission")
        if broken in ("vehicle", "broker", "centre") and (due or broken in stage.died()):
            if broken not in stage.died():
                self._screen.tell(f"{broken}: broken on purpose")
            stage.kill(broken)

    def _ask(self) -> dict[str, Any] | None:
        try:
            return control.ask(self._agent_dir, control.Status(), timeout_s=2.0)
        except DriverError:
            return None

    def _ask_by_mqtt(self, far: FarEnds, status: dict[str, Any] | None) -> None:
        """Late in the play a command from the centre, and the same once more, which must change nothing.

        An operator's words go before a warning, so they come when the warnings were spoken.
        """
        soon = len(far.spoken()) < 2 and time.time() < self._notes.takeoff_s + TALK_S
        if len(self._notes.replies) >= 2 and self._cut_off(far):
            self._notes.replies, self._notes.asked = [], self._notes.asked + 1
        if len(self._notes.replies) >= 2 or not status or soon:
            return
        self._asked_s = time.monotonic()
        if not self._notes.replies:
            self._asked_restarts = self._stage.restarts
        reply = self._send(f"demo-say-{self._notes.asked}", "say", f"text={scenario.ORDER}", "lang=cmn")
        if reply is None:  # the agent or the broker is not there just now; the next look asks again
            return
        if self._notes.replies and reply["state"] in OBEYED:
            return  # news of the first order: MQTT 3.1.1 has one topic for all answers; the next look asks again
        self._notes.replies.append(reply)
        self._notes.keep()
        self._screen.tell(f"command: the centre asked to say {scenario.ORDER} answered {reply['state']}")

    def _talking(self) -> bool:
        """Whether the operator is still to speak, or has just spoken: that needs its time after the landing too."""
        waited_s = time.time() - (self._notes.takeoff_s + TALK_S)
        return waited_s < LOOK_S or (bool(self._notes.replies) and time.monotonic() < self._asked_s + ORDER_S)

    def _cut_off(self, far: FarEnds) -> bool:
        """Whether a kill of the agent took the words from its mouth: an operator would ask again, with a new id."""
        obeyed = any(data["text"] == scenario.ORDER for data in far.spoken())
        late = time.monotonic() > self._asked_s + ORDER_S
        return late and not obeyed and self._stage.restarts > self._asked_restarts

    def _send(self, id: str, name: str, *arguments: str) -> dict[str, Any] | None:
        expires_s = 0.0 if self._notes.broken == "command" else 5.0  # a command that is late is never obeyed
        done = subprocess.run(
            [
                *(sys.executable, "-m", "edge_agent", "centre", "send", "--json", f"--id={id}", "--by=demo"),
                *("--host=127.0.0.1", f"--port={self._broker_port}", f"--device={scenario.DEVICE}"),
                f"--expires-s={expires_s}",
                *(f"--arg={argument}" for argument in arguments),
                f"--key={self._key}",
                name,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        reply: dict[str, Any] | None = json.loads(done.stdout) if done.stdout.strip() else None
        return reply

    def _fly_again(self, far: FarEnds, status: dict[str, Any] | None) -> None:
        """A flight that a kill of the agent ended before its take-off is asked for again, as an operator would."""
        flight = (status or {}).get("flight") or {}
        begun = {event["run"] for event in far.of("mission")}
        if not self._stage.restarts or flight.get("phase") != "ground" or not begun or self._flew():
            return
        try:
            answer = control.ask(self._agent_dir, Fly(route="river"))
        except DriverError:
            return
        if answer["state"] == "accepted":
            self._screen.tell("flight: was cut off before its take-off; asked for again")

    def _flew(self) -> bool:
        """Whether the vehicle has left the ground."""
        return any(line.get("alt_m", 0.0) > 1.0 for line in self._far_ends().vehicle)

    def _grounded(self, far: FarEnds, status: dict[str, Any] | None) -> bool:
        """Whether the vehicle rests, though it should have flown by now, and nothing is under way."""
        late = time.time() > self._notes.takeoff_s + LATE_S
        phase = ((status or {}).get("flight") or {}).get("phase")
        return late and phase == "ground" and not (far.vehicle and far.vehicle[-1]["armed"])

    def _show(self, far: FarEnds, status: dict[str, Any] | None) -> None:
        counts, outbox = (status or {}).get("counts") or {}, (status or {}).get("outbox") or {}
        plates = ", ".join(sorted({data["plate"]["text"] for data in far.found() if data.get("plate")}))
        self._screen.state(
            flight=flight_row((status or {}).get("flight")),
            seen=f"{counts.get('detector.eyes.frames', 0)} frames, {len(far.found())} incidents"
            + (f", plates {plates}" if plates else ""),
            spoken=f"{len(far.spoken())} texts",
            delivered=f"{len(far.events)} events, {len(far.thumbs)} pictures at the centre;"
            f" {outbox.get('depth', '?')} on the way",
        )
        for event in far.events:
            if event["id"] not in self._told:
                self._told.add(event["id"])
                if line := _line(event):
                    self._screen.tell(line)

    # --- down -----------------------------------------------------------------------------------------------------

    def _take_down(self) -> None:
        """Stop the agent as systemd would; what it still had to say must reach the centre."""
        status = self._stage.stop("agent")
        self._screen.tell("agent: stopped" + (" cleanly" if status == 0 else f", with status {status}"))
        end = time.monotonic() + 3.0
        while self._far_ends().missing and time.monotonic() < end:
            time.sleep(0.2)

    def _far_ends(self, died: dict[str, str] | None = None) -> FarEnds:
        from edge_agent.speakers.sound import TONE_HZ
        from edge_agent.vision.camera.simulated import parked_plate

        others = {name: how for name, how in (died or {}).items() if name != "agent"}
        return FarEnds(self._dir, parked_plate(1), TONE_HZ, self._notes.replies, others)


def _line(event: dict[str, Any]) -> str | None:
    """An event that the centre has, in words."""
    data = event["data"]
    match event["type"]:
        case "ev.mission":
            return f"flight: {data['phase']} ({data['cause']})"
        case "ev.det" if data.get("rev"):
            level = f" ({data['level']})" if data.get("level") else ""
            return f"incident {data['id']}: {data['state']}{level} by {data['by']}"
        case "ev.det":
            plate = f", plate {data['plate']['text']}" if data.get("plate") else ""
            return f"incident: {data['label']} in zone {data['zone']} for {data['lasted_s']:.1f} s{plate}"
        case "ev.voice":
            what = "spoken" if data["outcome"] == "delivered" else data["outcome"]
            return f"speaker {data['speaker']}: {what}: {data['text']}"
        case "ev.fault" | "ev.gap":
            return f"{event['type'][3:]}: {data['reason']}"
        case _:
            return None
