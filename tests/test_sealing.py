"""Sealed files: age's own open here, one key opens them and no other, and a changed byte opens nothing."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import config
from edge_agent.cli import main
from edge_agent.config import ConfigError
from edge_agent.messages import Track, Tracks
from edge_agent.sealing import CHUNK, SealError, check_recipient, new_key, recipient_of, seal, unseal
from edge_agent.vision.camera import Frame
from edge_agent.vision.video_file import Encoder, seal_video
from edge_agent.witness import Witness

# Made with age and age-keygen 1.1.1 of Debian 13.
SECRET = "AGE-SECRET-KEY-1NEK08FMQ4ADXF8RYQZ3U9K9PKNWDRCYCLGRV4CQ4CXN82AW75KTQP92MXM"
RECIPIENT = "age1qw4rll8403fuflvnwr5kmq7zusdta23g4n4sak0z66lmq7z87f9q7pk5p4"
SEALED = base64.b64decode(
    "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSA1NG9HcEVjcTgzektNQVFTQzhSbitGQXRrWlREb002TXVDUEt0a0xseG5VCi91WHFLNGta"
    "MjlrYzgrVC9ZTFlPQ1JBdEsyTWxmcDErbW9mL0FzRk5YWkUKLS0tIG11cS8wK1dnaENxNDhFK0JtcytxcHdKcnlpcHhZdkpEQSswUUFsd1BCd2MK"
    "Sc1VvDMck88OCF8HOFAhAzPFOdAI72VzJz4Eg1kBgd9HucXQJ6yBxRFHE3acxmb5uwE6oPc35YqigCGtokyn2EnT1sgY"
)
# A second pair by age-keygen would do as well: any other key.
OTHER, OTHERS = new_key()


def test_what_age_sealed_opens_here() -> None:
    assert unseal(SEALED, SECRET) == b"A car stood where it must not stand.\n"
    assert recipient_of(SECRET) == RECIPIENT


@settings(max_examples=20, deadline=None)
@given(st.sampled_from((0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK)), st.binary(min_size=1, max_size=8))
def test_what_is_sealed_opens_with_the_one_key_and_no_other(size: int, filling: bytes) -> None:
    data = (filling * size)[:size]
    sealed = seal(data, RECIPIENT)
    assert unseal(sealed, SECRET) == data
    with pytest.raises(SealError, match="another key"):
        unseal(sealed, OTHER)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_or_a_missing_end_opens_nothing(data: st.DataObject) -> None:
    sealed = seal(b"x" * (CHUNK + 100), RECIPIENT, random=bytes(range(64)))
    at = data.draw(st.one_of(st.integers(0, 250), st.integers(0, len(sealed) - 1)))
    changed = sealed[:at] + bytes((sealed[at] ^ data.draw(st.integers(1, 255)),)) + sealed[at + 1 :]
    for broken in (changed, sealed[:at]):
        with pytest.raises(SealError):
            unseal(broken, SECRET)


def test_chunks_cannot_be_left_out_or_swapped() -> None:
    sealed = seal(b"a" * CHUNK + b"b" * CHUNK + b"c", RECIPIENT)
    body, size = len(sealed) - 2 * (CHUNK + 16) - 17, CHUNK + 16
    first, second, last = sealed[body : body + size], sealed[body + size : body + 2 * size], sealed[-17:]
    for broken in (second + first + last, first + last, first + second):
        with pytest.raises(SealError, match="changed, or cut short"):
            unseal(sealed[:body] + broken, SECRET)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_refused_in_words(garbage: bytes) -> None:
    with pytest.raises(SealError):
        unseal(garbage, SECRET)
    with pytest.raises(SealError):
        unseal(b"age-encryption.org/v1\n-> X25519 " + garbage + b"\n\n--- x\n", SECRET)


@pytest.mark.parametrize("text", ["", "age1", RECIPIENT[:-1], RECIPIENT[:-1] + "5", RECIPIENT.title(), SECRET])
def test_a_mistyped_recipient_is_none(text: str) -> None:
    with pytest.raises(SealError):
        check_recipient(text)


# --- on the device ------------------------------------------------------------------------------------------------

PRIVACY = config.Privacy(seal_to=RECIPIENT)


async def test_of_a_sealed_original_only_ciphertext_rests_on_the_disk(tmp_path: Path) -> None:
    from edge_agent.audit import Audit
    from edge_agent.runtime import Health, SystemClock

    clock = SystemClock()
    witness = Witness(tmp_path, PRIVACY, audit=Audit(tmp_path), clock=clock, health=Health(clock))
    pixels = np.random.default_rng(1).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    frame = Frame("c", 1, 0.0, 0.0, pixels)
    person = Track(id=1, label="person", score=0.9, box=(20, 10, 60, 110), first_s=0, last_s=0, hits=3)
    tracks = Tracks(camera="c", seq=1, at_s=0, wall_s=0, width=160, height=120, tracks=(person,))
    await witness.snapshot("01ABC", frame, tracks, blur=True)
    assert [file.name for file in (tmp_path / "originals").iterdir()] == ["01ABC.jpg.age"]
    sealed = (tmp_path / "originals" / "01ABC.jpg.age").read_bytes()
    assert b"JFIF" not in sealed
    opened = unseal(sealed, SECRET)
    assert opened.startswith(b"\xff\xd8")
    assert opened != (tmp_path / "snapshots" / "01ABC.jpg").read_bytes()


def test_a_sealed_clip_opens_as_a_video(tmp_path: Path) -> None:
    encoder, pictures = Encoder(120), []
    for n in range(5):
        coded = encoder.encode(np.full((120, 160, 3), 40 * n, np.uint8), n / 5, n / 5, ())
        assert coded is not None
        pictures.append(coded)
    file = tmp_path / "originals" / "c.mp4.age"
    seal_video(file, pictures, RECIPIENT)
    assert [found.name for found in file.parent.iterdir()] == ["c.mp4.age"]
    assert unseal(file.read_bytes(), SECRET)[4:8] == b"ftyp"


def test_a_recipient_that_is_none_and_pictures_that_leave_in_plain_are_faults(tmp_path: Path) -> None:
    text = 'data_dir = "x"\n[site]\ndevice = "d"\n[[detector]]\nname = "e"\ntype = "simulated"\n'
    text += '[[camera]]\nname = "c"\ntype = "simulated"\ndetector = "e"\n[privacy]\n'
    for lines, fault in (
        ('seal_to = "age1x"', "privacy.seal_to: is no recipient"),
        (f'seal_to = "{RECIPIENT}"\nblur = false', "privacy.blur: false contradicts privacy.seal_to"),
    ):
        file = tmp_path / "agent.toml"
        file.write_text(text + lines)
        with pytest.raises(ConfigError, match=fault):
            config.load(file)


# --- at the centre ------------------------------------------------------------------------------------------------


def test_the_centre_makes_a_key_and_opens_what_was_sealed_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, sealed, out = tmp_path / "seal.key", tmp_path / "a.jpg.age", tmp_path / "out"
    assert main(["centre", "seal-key", "new", str(key), "--json"]) == 0
    recipient = json.loads(capsys.readouterr().out)["recipient"]
    assert key.stat().st_mode & 0o077 == 0
    sealed.write_bytes(seal(b"picture", recipient))
    (tmp_path / "b.jpg.age").write_bytes(seal(b"picture", OTHERS))
    assert main(["centre", "open", str(tmp_path), "--key", str(key), "-o", str(out), "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["opened"] == str(out / "a.jpg")
    assert "b.jpg.age: is sealed to another key" in printed.err
    assert [file.name for file in out.iterdir()] == ["a.jpg"]
    assert (out / "a.jpg").read_bytes() == b"picture"
    assert main(["centre", "seal-key", "new", str(key)]) == 69
