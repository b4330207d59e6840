"""One device, one broker, one centre, each a process of its own, and what a scenario may do to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from proxy import Proxy
from wire import listen_for_ever

HERE = Path(__file__).parent
DEVICE = "D-1"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
DEBIAN = ("persistence true", "max_inflight_messages 20", "max_queued_messages 1000")


class CannotRunError(Exception):
    """This machine lacks what the scenario needs."""


@dataclass
class Setup:
    """What a scenario needs beside the ordinary."""

    broker: tuple[str, ...] = DEBIAN
    centre: bool = True
    proxy: bool = False
    shim: bool = False
    disk_mib: int | None = None  # an ext4 of its own, on a loop device
    tls: bool = False
    tap: tuple[str, ...] = ("ea/1/+/up/ev/#",)
    files: dict[str, str] = field(default_factory=dict)  # what `{dir}` in `broker` is to hold
    agent: tuple[str, ...] = ()  # arguments of driver.py


@dataclass
class Outcome:
    """What the far end holds, against what the agent said it had kept."""

    scenario: str
    events: int = 0
    lost: int = 0  # kept, neither at the centre nor named
    named: int = 0  # kept, not at the centre, and inside a gap record
    duplicated: int = 0  # more than once at the centre
    repeated: int = 0  # on the wire once more than needed; the centre removes them by id
    reordered: int = 0  # on the wire first after a later one of the same epoch and lane
    refused: int = 0  # `put` raised: the caller knows
    seconds: float = 0.0
    restarts: int = 0
    records: list[str] = field(default_factory=list)  # gaps and faults that the centre was told
    notes: list[str] = field(default_factory=list)
    failed: str | None = None
    skipped: str | None = None

    def line(self) -> str:
        if self.skipped:
            return f"{self.scenario:34} skipped: {self.skipped}"
        text = (
            f"{self.scenario:34} {self.events:6} events  lost {self.lost}  named {self.named}  duplicated"
            f" {self.duplicated}  reordered {self.reordered}  repeats {self.repeated}  refused {self.refused}"
            f"  {self.seconds:.0f} s"
        )
        extra = [*self.notes, *_shorten(self.records)] + ([f"FAILED: {self.failed}"] if self.failed else [])
        return "\n".join((text, *(f"{'':34}   {each}" for each in extra)))

    def json(self) -> dict[str, Any]:
        return asdict(self)


class Broker:
    """A mosquitto with a configuration and a directory of its own."""

    def __init__(self, directory: Path, lines: tuple[str, ...]) -> None:
        if MOSQUITTO is None:
            raise CannotRunError("mosquitto is not installed (sudo apt-get install mosquitto)")
        directory.mkdir()
        self.port, self.directory = _free_port(), directory
        self._config = directory / "mosquitto.conf"
        auth = () if any(line.startswith(("allow_anonymous", "per_listener")) for line in lines) else OPEN
        head = (f"listener {self.port} 127.0.0.1", "user root", f"persistence_location {directory}/", *auth)
        self._config.write_text("\n".join((*head, *lines, "log_type error", "log_type warning")) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        assert MOSQUITTO
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log)
        end_s = time.monotonic() + 10
        while not _answers(self.port):
            assert self._process.poll() is None and time.monotonic() < end_s, _tail(self.directory / "log")
            await asyncio.sleep(0.02)

    def reload(self) -> None:
        """Let it read its access list anew."""
        assert self._process
        self._process.send_signal(signal.SIGHUP)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process:
            self._process.send_signal(number)
            await asyncio.to_thread(self._process.wait, 10)
            self._process = None

    def forget(self) -> None:
        """Delete what a stopped broker had saved: all sessions, and all that it had queued."""
        for file in self.directory.glob("mosquitto.db*"):
            file.unlink()


class Child:
    """A program that is started again when it ends, as systemd would; its lines of JSON are `told`."""

    def __init__(self, command: Callable[[], list[str]], log: Path, env: dict[str, str] | None = None) -> None:
        self.told: dict[str, Any] = {}
        self.restarts = -1
        self.wanted = False
        self._command, self._log, self._env = command, log, env
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        self.wanted = True
        self._task = asyncio.create_task(self._keep())

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """It will be started again."""
        if self._process and self._process.returncode is None:
            _send(self._process.pid, number)
            await self._process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """It stays away until `start`; one that does not heed SIGTERM within 15 s is killed."""
        self.wanted = False
        if self._process and self._process.returncode is None:
            _send(self._process.pid, number)
            try:
                async with asyncio.timeout(15):
                    await self._process.wait()
            except TimeoutError:
                _send(self._process.pid, signal.SIGKILL)
                await self._process.wait()
        if self._task:
            await self._task
            self._task = None

    async def _keep(self) -> None:
        while self.wanted:
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command(),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env=os.environ | (self._env or {}),
                    limit=1 << 20,
                )
            self.restarts += 1
            assert self._process.stdout
            async for line in self._process.stdout:
                with contextlib.suppress(ValueError):
                    self.told = json.loads(line)
            await self._process.wait()
            self.told = self.told | {"done": False, "paused": False, "connected": False}
            if self.wanted:
                await asyncio.sleep(0.3)


class Disk:
    """An ext4 in a file, mounted in a mount namespace of the agent's own; gone with the agent."""

    def __init__(self, directory: Path, mib: int) -> None:
        if os.geteuid() != 0:
            raise CannotRunError("needs root, for a loop device")
        self.image, self.at = directory / "disk.img", directory / "disk"
        self.at.mkdir()
        with self.image.open("wb") as file:
            file.truncate(mib * 2**20)
        made = _run("mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", str(self.image))
        tried = _run("unshare", "-m", "mount", "-o", "loop", str(self.image), str(self.at))
        if made or tried:
            raise CannotRunError(f"no loop device or no mount here: {(made or tried).strip()}")

    def wrap(self, command: list[str]) -> list[str]:
        mount = 'mount -o loop,errors=remount-ro "$0" "$1" && shift && exec "$@"'
        return ["unshare", "-m", "sh", "-c", mount, str(self.image), str(self.at), *command]

    def inside(self, pid: int) -> Path:
        """The disk as the agent sees it."""
        return Path(f"/proc/{pid}/root{self.at}")

    def fill(self, pid: int) -> None:
        """Leave not one block free."""
        fd = os.open(self.inside(pid) / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(fd, b"\0" * size)
        finally:
            os.close(fd)

    def empty(self, pid: int) -> None:
        (self.inside(pid) / "filler").unlink()

    def break_(self) -> None:
        """Make ext4 meet an error: it turns read-only, as it does on a worn card."""
        loops = _output("losetup", "-j", str(self.image))
        loop = re.findall(r"^/dev/(loop\d+):", loops, re.MULTILINE)[-1]
        Path(f"/sys/fs/ext4/{loop}/trigger_fs_error").write_text("1")

    def repair(self) -> None:
        """What the boot does: e2fsck; the agent must be down."""
        _run("e2fsck", "-fy", str(self.image))


class Shim:
    """The faults of shim.c, switched while the agent runs."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("gcc") is None:
            raise CannotRunError("gcc is not installed")
        library, control = directory / "shim.so", directory / "control"
        if told := _run("gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "shim.c"), "-ldl"):
            raise CannotRunError(f"gcc: {told}")
        control.write_bytes(bytes(64))
        self.env = {"LD_PRELOAD": str(library), "FAULTS_CONTROL": str(control)}
        self._file = control.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), 64)

    def set(
        self,
        *,
        sync_s: float = 0.0,
        sync_one_in: int = 0,
        clock_s: float = 0.0,
        sync_fails: bool = False,
        write_fails: bool = False,
    ) -> None:
        self._map[:28] = struct.pack("=ddiii", sync_s, clock_s, sync_one_in, sync_fails, write_fails)

    def close(self) -> None:
        self._map.close()
        self._file.close()


class Tap:
    """Hears every event on its way to the centre; acknowledgements and status too, where it is asked to."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.first_s: dict[str, float] = {}
        self.places: set[tuple[int, int]] = set()  # (epoch, seq)
        self.reordered = 0
        self.acks: list[tuple[float, dict[str, Any]]] = []
        self.births_s: list[float] = []
        self.ready = asyncio.Event()
        self._highest: dict[tuple[int, str], int] = {}

    def hear(self, topic: str, payload: bytes, at_s: float) -> None:
        try:
            told = json.loads(payload)
            match topic.split("/")[3:]:
                case ["down", "ack"]:
                    self.acks.append((at_s, told))
                case ["up", "status"] if told["state"] == "online":
                    self.births_s.append(at_s)
                case ["up", "ev", kind]:
                    self._count(kind, told["id"], told["seq"], told["epoch"], at_s)
        except (ValueError, KeyError, TypeError):
            pass  # somebody else's bytes

    def _count(self, kind: str, id: str, seq: int, epoch: int, at_s: float) -> None:
        self.deliveries += 1
        self.places.add((epoch, seq))
        if id in self.first_s:
            return
        self.first_s[id] = at_s
        highest = self._highest.get((epoch, kind), 0)
        self.reordered += seq < highest
        self._highest[epoch, kind] = max(highest, seq)

    def acked_s(self, seq: int) -> float | None:
        """When the centre first said that it has this place."""
        return next((at_s for at_s, ack in self.acks if _covers(ack, seq)), None)


class World:
    """What a scenario plays with."""

    def __init__(self, directory: Path, setup: Setup, events: int, rate: float) -> None:
        self.directory, self.setup, self.events = directory, setup, events
        self.out = directory / "out"
        self.rate = rate
        self.tap = Tap()
        for name, text in setup.files.items():
            (directory / name).write_text(text)
            (directory / name).chmod(0o600)
        self.disk = Disk(directory, setup.disk_mib) if setup.disk_mib else None
        self.shim = Shim(directory) if setup.shim else None
        self.pki = Pki(directory / "pki") if setup.tls else None
        lines = tuple(line.format(dir=directory) for line in setup.broker)
        if self.pki:
            self.tls_port = _free_port()
            lines += self.pki.listener(self.tls_port)
        self.broker = Broker(directory / "broker", lines)
        target = self.tls_port if self.pki else self.broker.port
        self.proxy = Proxy(target) if setup.proxy else None
        for kind in ("kept", "refused", "effects"):
            Path(f"{self.out}.{kind}").touch()
        self.agent = Child(self._agent_command, directory / "agent.log", self.shim.env if self.shim else None)
        self.centre = Child(self._centre_command, directory / "centre.log")
        self.notes: list[str] = []
        self._target = target

    @property
    def data(self) -> Path:
        return (self.disk.at if self.disk else self.directory) / "agent"

    def _agent_command(self) -> list[str]:
        port = self.proxy.port if self.proxy else self._target
        command = [sys.executable, str(HERE / "driver.py"), "--data", str(self.data), "--out", str(self.out)]
        command += ["--port", str(port), "--events", str(self.events), "--rate", str(self.rate)]
        command += [each.format(a_third_mib=max(1, self.events * 600 // 3 // 2**20)) for each in self.setup.agent]
        if self.pki:
            command += ["--tls", str(self.pki.directory)]
        return self.disk.wrap(command) if self.disk else command

    def _centre_command(self) -> list[str]:
        where = ["--port", str(self.broker.port), "--db", str(self.directory / "centre.db")]
        return [sys.executable, "-m", "edge_agent", "centre", "run", *where]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """Everything up, the centre first unless it is to be absent; everything down at the end, whatever happened."""
        async with AsyncExitStack() as stack:
            if self.shim:
                stack.callback(self.shim.close)
            if self.proxy:
                await stack.enter_async_context(self.proxy)
            await self.broker.start()
            stack.push_async_callback(self.broker.kill)
            tap = asyncio.create_task(listen_for_ever(self.broker.port, self.setup.tap, self.tap.hear, self.tap.ready))
            stack.push_async_callback(_cancel, tap)
            await asyncio.wait_for(self.tap.ready.wait(), 10)
            stack.push_async_callback(self.centre.stop, signal.SIGKILL)
            stack.push_async_callback(self.agent.stop, signal.SIGKILL)
            if self.setup.centre:
                self.centre.start()
            self.agent.start()
            yield self

    # --- what a scenario waits for --------------------------------------------------------------------------------

    async def reached(self, share: float) -> None:
        """Until that share of the events was put."""
        await self.until(lambda: self.agent.told.get("tried", 0) >= share * self.events, 120)

    async def put_all(self) -> None:
        await self.until(lambda: self.agent.told.get("done"), 180)

    async def paused(self) -> None:
        """Until the agent, told to put nothing more, holds nothing."""
        Path(f"{self.out}.pause").touch()
        await self.until(lambda: self.agent.told.get("paused") and self.agent.told["depth"] == 0, 120)

    def resume(self) -> None:
        Path(f"{self.out}.pause").unlink()

    async def drained(self, deadline_s: float) -> None:
        """Until the agent holds nothing that the centre has not confirmed."""
        await self.until(lambda: self.agent.told.get("done") and self.agent.told["depth"] == 0, deadline_s)

    async def connected(self, yes: bool = True, deadline_s: float = 90) -> None:
        await self.until(lambda: self.agent.told.get("connected") == yes, deadline_s)

    async def until(self, condition: Callable[[], Any], deadline_s: float) -> None:
        """Until it is so; an agent that ends again and again is not waited for."""
        end_s, most = time.monotonic() + deadline_s, self.agent.restarts + 10
        while not condition():
            if time.monotonic() > end_s:
                raise TimeoutError(f"not so in {deadline_s:.0f} s; the agent says {json.dumps(self.agent.told)[:1500]}")
            if self.agent.restarts > most:
                raise TimeoutError(f"the agent cannot run: {_tail(self.directory / 'agent.log')}")
            await asyncio.sleep(0.05)

    # --- judging --------------------------------------------------------------------------------------------------

    def kept(self) -> dict[str, list[str]]:
        """What the agent said that it had kept: id -> epoch, seq, lane, began, done."""
        lines = Path(f"{self.out}.kept").read_text().splitlines()
        return {id: facts for id, *facts in map(str.split, lines)}

    def effects(self) -> Counter[str]:
        return Counter(Path(f"{self.out}.effects").read_text().splitlines())

    def listed(self, kind: str) -> list[dict[str, Any]]:
        """What the centre holds, as its own command line lists it."""
        command = [sys.executable, "-m", "edge_agent", "centre", "list", "--db", str(self.directory / "centre.db")]
        told = _output(*command, "--kind", kind, "--json", "--limit", "10000000")
        return [json.loads(line) for line in told.splitlines()]

    def judge(self, outcome: Outcome) -> None:
        """Count what arrived; blocks."""
        kept = self.kept()
        ids = Counter(event["id"] for kind in ("det", "gap") for event in self.listed(kind))
        gaps, faults = self.listed("gap"), self.listed("fault")
        ranges = [(gap["data"]["epoch"], gap["data"]["first"], gap["data"]["last"]) for gap in gaps
                  if "first" in gap["data"]]  # fmt: skip
        missing = [id for id in kept if id not in ids]
        named = [id for id in missing if _named(kept[id], ranges)]
        outcome.events, outcome.named = len(kept), len(named)
        outcome.lost = len(missing) - len(named)
        outcome.duplicated = sum(count - 1 for count in ids.values())
        outcome.repeated = self.tap.deliveries - len(self.tap.first_s)
        outcome.reordered = self.tap.reordered
        outcome.refused = len(Path(f"{self.out}.refused").read_text().splitlines())
        outcome.restarts = self.agent.restarts
        outcome.records += [f"gap {_brief(gap['data'])}" for gap in gaps]
        outcome.records += [f"fault {fault['data'].get('part')}: {fault['data'].get('reason')}" for fault in faults]
        outcome.notes += self.notes
        if outcome.lost:
            lost = sorted(set(missing) - set(named))
            outcome.failed = f"{outcome.lost} lost without a record, the first {lost[0]} at {kept[lost[0]][:2]}"


class Pki:
    """A certificate authority for one test, by openssl."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            raise CannotRunError("openssl is not installed")
        self.directory = directory
        directory.mkdir()
        (directory / "index").touch()
        (directory / "serial").write_text("01\n")
        (directory / "ca.conf").write_text(_CA_CONF.format(dir=directory))
        self._openssl("req", "-x509", *_NEW_KEY, "-days", "30", "-keyout", "ca.key", "-out", "ca_file.pem",
                      "-subj", "/CN=faults")  # fmt: skip
        self.issue("server", "localhost")
        self.issue("device", DEVICE)
        for name, source in (("cert_file", "device.pem"), ("key_file", "device.key")):
            shutil.copy(directory / source, directory / f"{name}.pem")

    def issue(self, file: str, name: str, *, from_s: float = -3600.0, for_s: float = 86_400.0) -> None:
        """A certificate that is valid from `from_s` from now on, for `for_s`."""
        start, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + s)) for s in (from_s, from_s + for_s))
        self._openssl("req", *_NEW_KEY, "-keyout", f"{file}.key", "-out", f"{file}.csr", "-subj", f"/CN={name}")
        self._openssl("ca", "-batch", "-config", "ca.conf", "-in", f"{file}.csr", "-out", f"{file}.pem", "-notext",
                      "-startdate", start, "-enddate", end)  # fmt: skip

    def install(self, file: str) -> None:
        """Give the device this certificate, in place of the one it has."""
        for name, suffix in (("key_file", "key"), ("cert_file", "pem")):
            shutil.copy(self.directory / f"{file}.{suffix}", self.directory / f"{name}.new")
            (self.directory / f"{name}.new").rename(self.directory / f"{name}.pem")

    def listener(self, port: int) -> tuple[str, ...]:
        at = self.directory
        return (f"listener {port} 127.0.0.1", f"cafile {at}/ca_file.pem", f"certfile {at}/server.pem",
                f"keyfile {at}/server.key", "require_certificate true", "use_identity_as_username true")  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _named(facts: list[str], ranges: list[tuple[int, int, int]]) -> bool:
    epoch, seq = int(facts[0]), int(facts[1])
    return any(epoch == of and first <= seq <= last for of, first, last in ranges)


def _covers(ack: dict[str, Any], seq: int) -> bool:
    return seq <= ack["cum"] or any(first <= seq <= last for first, last in ack.get("sel", ()))


def _brief(data: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in data.items() if key != "pad")[:200]


def _shorten(records: list[str]) -> list[str]:
    """Records that differ only in their numbers are told once."""
    kinds = Counter(re.sub(r"\d+", "#", record) for record in records)
    first = {re.sub(r"\d+", "#", record): record for record in reversed(records)}
    return [f"{first[kind]}" + (f"  (and {count - 1} more like it)" if count > 1 else "")
            for kind, count in kinds.items()]  # fmt: skip


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-6:])


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _run(*command: str) -> str:
    """What it complained of, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr or f"exit {done.returncode}"


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


OPEN = ("allow_anonymous true",)
Act = Callable[[World], Awaitable[None]]
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_CA_CONF = """
[ca]
default_ca = one
[one]
dir = {dir}
database = {dir}/index
serial = {dir}/serial
new_certs_dir = {dir}
certificate = {dir}/ca_file.pem
private_key = {dir}/ca.key
default_md = sha256
policy = any
unique_subject = no
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = DNS:localhost,IP:127.0.0.1
"""
