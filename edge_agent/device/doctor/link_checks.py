"""Judgements on the identity and on the way to the centre, a step at a time. Pure."""

from __future__ import annotations

from edge_agent.device.doctor.facts import Link, Verdict, fail, ok, unknown, warn


def enrolled(n: Link) -> Verdict:
    if n.enrolled is None:
        return unknown("the link needs no certificate")
    if not n.enrolled:
        return fail("this device is not enrolled", "edge-agent enrol --claim CODE, from the label")
    return (
        fail(n.identity_fault, "edge-agent enrol --claim CODE, with a new claim")
        if n.identity_fault
        else ok("enrolled")
    )


def certificate_days(n: Link) -> Verdict:
    if n.days_left is None or n.life_days is None:
        return unknown("there is no certificate")
    shown = f"the certificate is good for {n.days_left:.0f} days"
    if n.days_left <= 0:
        return fail("the certificate has expired", "edge-agent enrol --claim CODE, with a new claim")
    if n.days_left < n.life_days / 3:
        return warn(
            f"{shown}: it should have been renewed",
            "edge-agent enrol --renew; does edge-agent-renew.timer run?",
            "renew",
        )
    return ok(shown)


def clone(n: Link) -> Verdict:
    if n.enrolled is None or not n.enrolled:
        return unknown("this device is not enrolled")
    if n.clone:
        return fail(n.clone, "edge-agent enrol --wipe, then enrol with a claim of its own")
    return ok("this is the board that was enrolled")


def routed(n: Link) -> Verdict:
    if n.routed is None:
        return unknown("routes are not told")
    return (
        ok("there is a way out") if n.routed else fail("there is no default route", "cable, Wi-Fi, SIM: nmcli device")
    )


def dns(n: Link) -> Verdict:
    return _step(n, n.dns, "the broker's name is known", "resolvectl query NAME; nmcli device show | grep DNS")


def tcp(n: Link) -> Verdict:
    return _step(n, n.tcp, "the broker's port answers", "is the broker up? a firewall between? mqtt.port")


def tls(n: Link) -> Verdict:
    if n.configured and n.plain:
        return fail(
            "mqtt.plain = true: everybody on the way reads and writes", "a CA: edge-agent centre ca, and mqtt.ca_file"
        )
    return _step(n, n.tls, "the broker is who its certificate says", "mqtt.ca_file, mqtt.host, the clock")


def mqtt(n: Link) -> Verdict:
    return _step(n, n.mqtt, "the broker lets this device in", "certificate, broker's ACL: edge-agent enrol --status")


def acked(n: Link) -> Verdict:
    if n.configured and n.ack == "broker":
        return warn(
            'mqtt.ack = "broker": no centre confirms anything', 'mqtt.ack = "centre", and edge-agent centre run'
        )
    took = "" if n.round_trip_s is None else f" within {n.round_trip_s:.1f} s"
    return _step(n, n.acked, f"the centre confirmed an event{took}", "does the centre run? edge-agent centre devices")


def acl(n: Link) -> Verdict:
    if n.acl_open is None:
        return unknown("the broker does not say what it refuses")
    if n.acl_open:
        return fail("the broker lets this device speak as another", "deploy/mosquitto/acl: pattern write ea/1/%u/up/#")
    return ok("the broker lets this device speak for itself alone")


def unsigned(n: Link) -> Verdict:
    if n.configured and n.unsigned:
        return fail(
            "mqtt.unsigned_commands = true: whoever reaches the broker flies this vehicle",
            "false; sign: centre key new",
        )
    return ok("commands that fly or speak want a signature") if n.configured else unknown("there is no [mqtt]")


def upload(n: Link) -> Verdict:
    if n.upload == "off":
        return unknown("originals stay on this device (evidence.upload = off)")
    if n.upload == "mqtt":
        return ok("the centre grants each upload")
    if not n.asked:
        return unknown("the upload's server was not asked")
    return (
        fail(n.upload_fault, "evidence.url, evidence.token; is the server up?")
        if n.upload_fault
        else ok("the server answers")
    )


def resume(n: Link) -> Verdict:
    if n.upload_resumes is None:
        return unknown("no upload server was asked")
    if not n.upload_resumes:
        return warn("an upload that is cut off begins anew", "a server that speaks tus 1.0 with `creation`")
    return ok("an upload that is cut off goes on where it was")


def _step(n: Link, fault: str | None, good: str, fix: str) -> Verdict:
    if not n.configured:
        return unknown("there is no [mqtt]: events wait on the disk")
    if not n.asked:
        return unknown("not asked (without --quick it is)")
    if fault == "":
        return unknown("the step before it failed")
    return ok(good) if fault is None else fail(fault, fix)
