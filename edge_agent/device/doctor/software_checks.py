"""Judgements on the agent's own things: configuration, disk, secrets, unit, ports, retention, outbox. Pure."""

from __future__ import annotations

from edge_agent.device.doctor.facts import Software, Verdict, fail, ok, unknown, warn

SCORE_MAX = 1.3  # systemd-analyze security; lower is safer
LAG_MS = 100.0


def configuration(s: Software) -> Verdict:
    if s.config_faults is None:
        return fail("there is no configuration", "edge-agent enrol, or write /etc/edge-agent/agent.toml")
    if s.config_faults:
        more = f" (and {len(s.config_faults) - 1} more)" if len(s.config_faults) > 1 else ""
        return fail(s.config_faults[0] + more, f"edge-agent check -c {s.config_file}")
    return ok(f"{s.config_file} is right")


def simulated(s: Software) -> Verdict:
    if s.simulated is None:
        return unknown("no configuration says what there is")
    if s.simulated:
        return warn(f"simulated: {', '.join(s.simulated)}", "put the real thing into agent.toml before this goes out")
    return ok("nothing is simulated")


def data_dir(s: Software) -> Verdict:
    if s.data_dir_writable is None:
        return unknown("there is no data directory yet: edge-agent run makes it")
    if not s.data_dir_writable:
        return fail(f"{s.data_dir} cannot be written", "is its file system mounted read-write? whose is it?")
    return ok(f"{s.data_dir} can be written")


def data_dir_mode(s: Software) -> Verdict:
    if s.data_dir_mode is None:
        return unknown("there is no data directory yet")
    if s.data_dir_mode & 0o077:
        return fail(
            f"{s.data_dir} is open to others ({s.data_dir_mode:04o})", f"chmod 700 {s.data_dir}", "data_dir_mode"
        )
    return ok("the data directory is its owner's alone")


def space(s: Software) -> Verdict:
    if s.free_mib is None:
        return unknown("free space is not told")
    shown = f"{s.free_mib} MiB are free"
    if s.free_mib < 256:
        return fail(shown, "edge-agent evidence list, then delete; or a larger disk: on a full one nothing is recorded")
    return warn(shown, "a larger disk, or a smaller evidence.max_mib") if s.free_mib < 1024 else ok(shown)


def inodes(s: Software) -> Verdict:
    if s.free_inodes_pct is None:
        return unknown("this file system does not count its inodes")
    shown = f"{s.free_inodes_pct:.0f} % of the inodes are free"
    return (
        fail(shown, "many small files: find / -xdev -type f | cut -d/ -f2-4 | sort | uniq -c")
        if s.free_inodes_pct < 3
        else ok(shown)
    )


def ballast(s: Software) -> Verdict:
    if s.ballast_mib is None:
        return unknown("no configuration says how much")
    if not s.ballast_mib:
        return warn("outbox.ballast_mib is 0", "64: on a full disk even deleting needs room")
    if s.ballast_there is None:
        return unknown("there is no outbox yet")
    if not s.ballast_there:
        return warn(
            "the ballast was given up: the disk is or was full",
            f"free {2 * s.ballast_mib} MiB; it comes back by itself",
        )
    return ok(f"{s.ballast_mib} MiB are kept for a full disk")


def leftovers(s: Software) -> Verdict:
    if s.leftovers is None:
        return unknown("there is no data directory yet")
    if s.leftovers:
        return warn(
            f"{len(s.leftovers)} writes were cut off, as {s.leftovers[0]}",
            "harmless; edge-agent doctor --fix",
            "leftovers",
        )
    return ok("no write was cut off")


def secrets(s: Software) -> Verdict:
    if s.secrets_open is None:
        return unknown("no secret is configured")
    if s.secrets_open:
        return fail(f"others may read {s.secrets_open[0]}", f"chmod 600 {s.secrets_open[0]}", "secrets")
    return ok("secrets are their owner's alone")


def default_logins(s: Software) -> Verdict:
    if s.default_logins is None:
        return unknown("no login is configured")
    if s.default_logins:
        return fail(
            f"a password that everybody knows: {', '.join(s.default_logins)}", "change it on the device, then here"
        )
    return ok("no login is a maker's default")


def retention(s: Software) -> Verdict:
    if s.keep_days is None:
        return unknown("no configuration says how long originals are kept")
    if s.hold:
        return warn("evidence.hold is set: nothing is ever deleted", "take it back when the case is over")
    if s.keep_days_least is None and s.keep_days_most is None:
        return warn(
            f"kept for {s.keep_days:g} days, and no rule of this site is known",
            "[site] keep_days_min and keep_days_max",
        )
    if s.keep_days_least is not None and s.keep_days < s.keep_days_least:
        return fail(
            f"kept for {s.keep_days:g} days, the site's rule wants {s.keep_days_least:g}",
            f"evidence.keep_days = {s.keep_days_least:g}, and no less of any kind",
        )
    longest = s.keep_days if s.keep_days_longest is None else s.keep_days_longest
    if s.keep_days_most is not None and longest > s.keep_days_most:
        return fail(
            f"kept for {longest:g} days, the site's rule allows {s.keep_days_most:g}",
            f"evidence.keep_days = {s.keep_days_most:g}, and no more of any kind",
        )
    return ok(f"kept for {s.keep_days:g}{'' if longest == s.keep_days else f' to {longest:g}'} days, as the site says")


def running(s: Software) -> Verdict:
    if s.running is None:
        return unknown("nobody can tell whether an agent runs")
    return (
        ok(f"the agent runs ({s.running_version})")
        if s.running
        else warn("the agent does not run", "systemctl start edge-agent")
    )


def version(s: Software) -> Verdict:
    if s.running_version is None:
        return unknown("the agent does not run")
    if s.running_version != s.version:
        return warn(
            f"{s.running_version} runs, {s.version} is installed", "systemctl restart edge-agent, on the ground"
        )
    return ok(f"{s.version} is installed and runs")


def parts(s: Software) -> Verdict:
    if not s.running:
        return unknown("the agent does not run")
    if s.parts_failed:
        name, why = next(iter(s.parts_failed.items()))
        return fail(
            f"{name}: {why}" + (f" (and {len(s.parts_failed) - 1} more)" if len(s.parts_failed) > 1 else ""),
            "edge-agent status",
        )
    return ok("every part runs")


def loop(s: Software) -> Verdict:
    if s.loop_lag_ms is None:
        return unknown("the agent does not run")
    shown = f"the loop is {s.loop_lag_ms:.0f} ms late at most (p99)"
    return warn(shown, "a smaller model, fewer cameras, or a faster board") if s.loop_lag_ms > LAG_MS else ok(shown)


def unit(s: Software) -> Verdict:
    if s.unit_there is None:
        return unknown("there is no systemd here")
    if not s.unit_there:
        return warn("the service is not installed", "edge-agent install")
    if s.unit_enabled is False:
        return fail("the service does not start at boot", "systemctl enable --now edge-agent")
    return ok("the service is installed and starts at boot")


def unit_watchdog(s: Software) -> Verdict:
    if not s.unit_there:
        return unknown("the service is not installed")
    if not s.unit_watchdog:
        return fail(
            "the service has no WatchdogSec: a loop that hangs stays so", "edge-agent install puts the unit right"
        )
    return ok("systemd restarts a loop that hangs")


def unit_score(s: Software) -> Verdict:
    if s.unit_score is None:
        return unknown("systemd-analyze cannot judge the service here")
    shown = f"systemd-analyze security: {s.unit_score:g}"
    return warn(shown, "a drop-in opened it: systemctl cat edge-agent") if s.unit_score > SCORE_MAX else ok(shown)


def restarts(s: Software) -> Verdict:
    if s.unit_restarts is None:
        return unknown("systemd does not tell restarts")
    shown = f"{s.unit_restarts} restarts since boot"
    return (
        warn(shown, "journalctl -u edge-agent -p warning; edge-agent support-bundle")
        if s.unit_restarts > 3
        else ok(shown)
    )


def journal(s: Software) -> Verdict:
    if s.journal_volatile is None:
        return unknown("journald is not configured here")
    if not s.journal_volatile:
        return warn("the journal is written to the card all the time", "edge-agent install (Storage=volatile)")
    return ok("the journal spares the card")


def ports(s: Software) -> Verdict:
    if s.open_ports is None:
        return unknown("open ports are not told")
    if s.open_ports:
        return warn(
            f"open to the network: {', '.join(s.open_ports)}",
            "ss -ltnp says who listens; nothing here needs to, but ssh",
        )
    return ok("nothing but ssh listens to the network")


def ssh(s: Software) -> Verdict:
    if s.ssh_passwords is None:
        return unknown("there is no ssh server")
    if s.ssh_passwords:
        return fail("ssh takes passwords", "PasswordAuthentication no in /etc/ssh/sshd_config.d/, and keys")
    return ok("ssh takes keys only")


def audit(s: Software) -> Verdict:
    if s.audit_faults is None:
        return unknown("there is no audit log yet")
    if s.audit_faults:
        return fail(s.audit_faults[0], "edge-agent audit verify; keep the file, report it")
    return ok("the audit log's chain holds")


def operators(s: Software) -> Verdict:
    if s.operators_expired:
        return warn(
            f"no longer valid: {', '.join(s.operators_expired)}", "renew not_after in [[operator]], or take them out"
        )
    return ok(f"{s.operators} operators may command") if s.operators else unknown("nobody may command from afar")


def outbox(s: Software) -> Verdict:
    if s.outbox_depth is None:
        return unknown("the agent does not run")
    shown = f"{s.outbox_depth} events wait, the oldest for {s.outbox_oldest_s or 0:.0f} s"
    if (s.outbox_oldest_s or 0) > 3600:
        return warn(shown, "is the centre there? edge-agent outbox stats")
    return ok(shown)


def quarantine(s: Software) -> Verdict:
    if s.outbox_quarantined is None:
        return unknown("the agent does not run")
    if s.outbox_quarantined:
        return warn(
            f"{s.outbox_quarantined} events were refused and set aside", "edge-agent outbox --help: look, then retry"
        )
    return ok("no event was refused")
