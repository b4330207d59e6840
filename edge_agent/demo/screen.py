"""What the demo shows while it plays: a live table on a terminal, one line for each happening elsewhere."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from edge_agent.demo.judge import Verdict

if TYPE_CHECKING:
    from rich.console import Console, Group

KEEP = 12


class Screen:
    """Happenings in order, and the state of the whole above them."""

    def __init__(self, console: Console, live: bool) -> None:
        from rich.live import Live

        self._console = console
        self._began = time.monotonic()
        self._state: dict[str, str] = {}
        self._lines: deque[str] = deque(maxlen=KEEP)
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._draw) if live else None

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def state(self, **rows: str) -> None:
        """Set rows of the table."""
        self._state |= rows

    def tell(self, text: str) -> None:
        """Something happened."""
        line = f"{time.monotonic() - self._began:5.1f} s  {text}"
        self._lines.append(line)
        if not self._live:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def summary(self, headline: str, verdicts: list[Verdict], directory: str) -> None:
        """The end of the play: each link, what its far end shows, and the files."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title="What reached the far ends", title_justify="left", show_edge=False, pad_edge=False)
        for column in ("link", "", "what is there"):
            table.add_column(column, overflow="fold")
        for verdict in verdicts:
            mark = Text("works", "green") if verdict.ok else Text("BROKEN", "bold red")
            table.add_row(verdict.link, mark, Text(verdict.shows))
        self._console.print()
        self._console.print(table)
        for verdict in verdicts:
            for file in verdict.files:
                self._console.print(f"{verdict.link}: {file}", markup=False, highlight=False, soft_wrap=True)
        self._console.print(headline, highlight=False)
        self._console.print(f"everything is in {directory}", markup=False, highlight=False, soft_wrap=True)
        broken = [verdict.link for verdict in verdicts if not verdict.ok]
        end = f"broken: {', '.join(broken)}" if broken else "every link worked"
        self._console.print(Text(end, "bold red" if broken else "bold green"))

    def _draw(self) -> Group:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for name, value in self._state.items():
            table.add_row(Text(name, "bold cyan"), Text(value))
        seconds = time.monotonic() - self._began
        head = Text(f"edge-agent demo, {seconds:.0f} s: a patrol, seen, spoken and reported", "bold")
        return Group(head, table, Text(), *(Text(line, no_wrap=True, overflow="ellipsis") for line in self._lines))


def flight_row(flight: dict[str, Any] | None) -> str:
    """The flight as one line."""
    if not flight:
        return "no answer from the agent"
    parts = [str(flight.get("phase", "?"))]
    for key, form in (
        ("alt_m", "{:.0f} m high"),
        ("distance_home_m", "{:.0f} m from home"),
        ("battery_pct", "{:.0f} %"),
    ):
        if isinstance(value := flight.get(key), int | float):
            parts.append(form.format(value))
    return ", ".join(parts)
