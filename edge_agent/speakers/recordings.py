"""Recordings in any format that FFmpeg reads, kept in a store by the hash of their bytes."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_agent.speakers.sound import Floats

if TYPE_CHECKING:
    from av.container import InputContainer

FOLDER = "recordings"  # of the data directory: nothing in it is evidence, to be uploaded and deleted by rule
MAX_S = 120.0  # of a recording: longer ones are no warnings
MAX_BYTES = 64 * 2**20
_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


def keep(file: Path, store: Path) -> str:
    """Put a file into the store, if it is not there yet; returns its name there. Raises OSError, or ValueError."""
    if file.exists() and not file.is_file():
        raise ValueError(f"{file}: is no file: a recording is wanted")
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file}: has {file.stat().st_size} bytes; a clip may have {MAX_BYTES}")
    decode(file, 8000)
    suffix = file.suffix.lower()  # for people alone; FFmpeg looks at the bytes
    name = hashlib.sha256(file.read_bytes()).hexdigest()[:16] + (suffix if _SUFFIX.fullmatch(suffix) else "")
    final = store / name
    if not final.exists():
        store.mkdir(parents=True, exist_ok=True)
        part = final.with_suffix(".part")
        shutil.copyfile(file, part)
        part.replace(final)
    return name


def decode(file: Path, rate_hz: int) -> Floats:
    """Its sound as mono, -1..1; ValueError says why there is none, or that it is too long (without decoding it all)."""
    import av

    pieces: list[Floats] = []
    count = 0
    try:
        with av.open(str(file)) as container:
            if not container.streams.audio:
                raise ValueError(f"{file.name}: holds no sound")
            if (lasts_s := _lasts_s(container)) is not None and lasts_s > MAX_S + 1:  # of MP3 it is an estimate
                raise ValueError(f"{file.name}: lasts {lasts_s:.0f} s; {MAX_S:g} s are the most")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
            for frame in container.decode(audio=0):
                for piece in resampler.resample(frame):
                    pieces.append(piece.to_ndarray()[0] / 32768.0)
                    count += len(pieces[-1])
                if count > MAX_S * rate_hz:
                    raise ValueError(f"{file.name}: is longer than {MAX_S:g} s")
            pieces += [piece.to_ndarray()[0] / 32768.0 for piece in resampler.resample(None)]
    except FileNotFoundError:
        raise ValueError(f"{file.name}: no such clip on this device") from None
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{file.name}: {getattr(error, 'strerror', None) or error}") from None
    if not pieces:
        raise ValueError(f"{file.name}: holds no sound")
    return np.concatenate(pieces)


def _lasts_s(container: InputContainer) -> float | None:
    """How long it says that it is."""
    return None if container.duration is None else container.duration / 1_000_000
