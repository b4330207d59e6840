"""Judgements on autopilot, cameras, models and speakers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_agent.device.doctor.facts import Senses, Verdict, fail, ok, unknown, warn


def serial_port(s: Senses) -> Verdict:
    if s.serial_port is None:
        return unknown("the vehicle is not on a serial port")
    if not s.serial_port_there:
        return fail(
            f"{s.serial_port} is not there",
            "cable, UART in config.txt, or another name: ls -l /dev/serial/by-id /dev/ttyAMA*",
        )
    if not s.serial_port_ours:
        return fail(f"{s.serial_port} may not be opened by this account", "usermod -aG dialout edge-agent")
    return ok(f"{s.serial_port} is there")


def heartbeat(s: Senses) -> Verdict:
    if s.vehicle is None:
        return unknown("this device has no [vehicle]")
    if s.gates is None:
        return (
            unknown("the autopilot was not asked")
            if s.vehicle_fault is None
            else fail(s.vehicle_fault, "power, cable, baud rate, SERIALn_PROTOCOL 2")
        )
    return _of(s, "link")


def gate(name: str) -> Callable[[Senses], Verdict]:
    """The judgement of the gate before a flight of that name."""

    def judge(s: Senses) -> Verdict:
        return _of(s, name)

    return judge


def _of(s: Senses, name: str) -> Verdict:
    if s.vehicle is None:
        return unknown("this device has no [vehicle]")
    found = (s.gates or {}).get(name)
    if found is None:
        return unknown("the autopilot did not say")
    shown = found.reason + (f": {found.value}" if found.value else "")
    fix = found.remedy or "edge-agent preflight"
    match found.state:
        case "pass":
            return ok(shown)
        case "fail":
            return fail(shown, fix)
        case _:
            return warn(shown, fix)


def parameters(s: Senses) -> Verdict:
    p = s.params
    if s.vehicle in (None, "simulated"):
        return unknown("this device has no autopilot of its own")
    if p.unfinished is not None:
        return fail(f"the apply of {p.unfinished} did not come to its end", "edge-agent params apply FILE…, once more")
    if p.applied is None and p.fault is not None:
        return fail(p.fault, "who changed that? edge-agent params apply writes it anew")
    if p.applied is None:
        return warn("no set was applied by this device", "edge-agent params apply FILE… (firmware_config/)")
    if p.drift is None:
        return unknown(f"applied on {p.applied}; {p.fault or 'the autopilot was not asked'}")
    if p.drift:
        return fail(f"not as applied on {p.applied}: {'; '.join(p.drift)}", "who changed it? edge-agent params apply")
    return ok(f"as applied on {p.applied}")


def cameras(s: Senses) -> Verdict:
    return _each(s.cameras, "camera", "edge-agent camera test NAME -c agent.toml")


def camera_logins(s: Senses) -> Verdict:
    if s.cameras is None:
        return unknown("no camera is configured")
    if s.cameras_open:
        return warn(
            f"without a login: {', '.join(s.cameras_open)}", "set a password on the camera, and `credentials` here"
        )
    return ok("every network camera has a login")


def models(s: Senses) -> Verdict:
    return _each(s.models, "model", "edge-agent models check FILE")


def model_speed(s: Senses) -> Verdict:
    if not s.model_ms:
        return unknown("no model was timed")
    slow = {name: ms for name, ms in s.model_ms.items() if ms > s.wanted_ms.get(name, float("inf"))}
    shown = ", ".join(f"{name} {ms:.0f} ms" for name, ms in (slow or s.model_ms).items())
    if slow:
        return warn(
            f"slower than its cameras' frames: {shown}", "a smaller model, more threads, or fewer frames (max_fps)"
        )
    return ok(f"a frame takes {shown}")


def speakers(s: Senses) -> Verdict:
    return _each(s.speakers, "speaker", "edge-agent speakers test -c agent.toml")


def _each(found: Mapping[str, str | None] | None, noun: str, fix: str) -> Verdict:
    if found is None:
        return unknown(f"no {noun} was asked")
    if not found:
        return unknown(f"no {noun} is configured")
    if bad := {name: why for name, why in found.items() if why is not None}:
        return fail("; ".join(f"{name}: {why}" for name, why in bad.items()), fix)
    return ok(f"{', '.join(found)}: {'each works' if len(found) > 1 else 'works'}")
