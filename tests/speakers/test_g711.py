"""G.711 against the Recommendation's own numbers and against FFmpeg's codec."""

from fractions import Fraction

import av
import numpy as np
import pytest

from edge_agent.speakers import g711

ALL = np.arange(-32768, 32768).astype(np.int16)


def test_mu_law_decodes_to_the_values_of_table_2() -> None:
    """ITU-T G.711 (11/88), tables 2a and 2b, 14-bit values times 4."""
    codes = bytes([0x80, 0x8F, 0x9F, 0xAF, 0xBF, 0xCF, 0xDF, 0xEF, 0xFE, 0xFF, 0x7F, 0x7E, 0x00])
    values = [8031, 4191, 2079, 1023, 495, 231, 99, 33, 2, 0, 0, -2, -8031]
    assert g711.decode(codes, "pcmu").tolist() == [4 * value for value in values]


def test_a_law_decodes_to_the_values_of_table_1() -> None:
    """ITU-T G.711 (11/88), tables 1a and 1b with even bits inverted, 13-bit values (full scale 4096) times 8."""
    codes = bytes([0xAA, 0xA5, 0xB5, 0x85, 0x95, 0xE5, 0xF5, 0xC5, 0xD5, 0x55, 0x2A])
    values = [4032, 2112, 1056, 528, 264, 132, 66, 33, 1, -1, -4032]
    assert g711.decode(codes, "pcma").tolist() == [8 * value for value in values]


@pytest.mark.parametrize(
    ("codec", "scale", "limits"),
    [
        ("pcmu", 4, {4063: 0x8F, 2015: 0x9F, 991: 0xAF, 479: 0xBF, 223: 0xCF, 95: 0xDF, 31: 0xEF}),
        ("pcma", 8, {2048: 0xA5, 1024: 0xB5, 512: 0x85, 256: 0x95, 128: 0xE5, 64: 0xF5, 32: 0xC5}),
    ],
)
def test_segments_begin_at_the_decision_values(codec: g711.Codec, scale: int, limits: dict[int, int]) -> None:
    """ITU-T G.711, the decision values of tables 1a and 2a where the step doubles."""
    for limit, code in limits.items():
        below, at = g711.encode(np.array([scale * limit - 1, scale * limit], np.int16), codec)
        assert at == code
        assert below != code


@pytest.mark.parametrize(
    ("codec", "octets", "peak"),
    [("pcmu", "1E0B0B1E9E8B8B9E", 32768 * 8159 / 8192), ("pcma", "34212134B4A1A1B4", 32768)],
)
def test_the_digital_milliwatt_is_a_sine_of_1_khz_at_0_dbm0(codec: g711.Codec, octets: str, peak: float) -> None:
    """ITU-T G.711, tables 5 and 6; 0 dBm0 is 3.17 (mu) and 3.14 dB (A) below full load."""
    samples = g711.decode(bytes.fromhex(octets), codec)
    load_db = {"pcmu": 3.17, "pcma": 3.14}[codec]
    ideal = -peak * 10 ** (-load_db / 20) * np.sin(2 * np.pi * (np.arange(8) + 0.5) / 8)
    assert np.abs(samples - ideal).max() < 600  # the step at this size is 1024
    assert g711.encode(samples, codec) == bytes.fromhex(octets)


@pytest.mark.parametrize(("codec", "name"), [("pcmu", "pcm_mulaw"), ("pcma", "pcm_alaw")])
def test_it_agrees_with_ffmpeg(codec: g711.Codec, name: str) -> None:
    decoder = av.CodecContext.create(name, "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    (frame,) = decoder.decode(av.Packet(bytes(range(256))))
    assert g711.decode(bytes(range(256)), codec).tolist() == frame.to_ndarray()[0].tolist()

    encoder = av.CodecContext.create(name, "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.time_base = 8000, "mono", "s16", Fraction(1, 8000)
    given = av.AudioFrame.from_ndarray(ALL[None, :], format="s16", layout="mono")
    given.sample_rate, given.pts = 8000, 0
    theirs = np.frombuffer(b"".join(bytes(packet) for packet in encoder.encode(given)), np.uint8)
    ours = np.frombuffer(g711.encode(ALL, codec), np.uint8)
    assert (theirs != ours).mean() < 0.02  # FFmpeg rounds to the nearest value, the Recommendation has its own limits
    even_bits = {"pcmu": 0, "pcma": 0x55}[codec]  # inverted on the wire
    assert np.abs((theirs ^ even_bits).astype(int) - (ours ^ even_bits)).max() <= 1  # neighbours


@pytest.mark.parametrize(("codec", "smallest", "overload"), [("pcmu", 4, 644), ("pcma", 8, 512)])
def test_a_round_trip_errs_by_half_a_step(codec: g711.Codec, smallest: int, overload: int) -> None:
    """A step is 1/16 of its segment, a segment doubles: the error stays below 1/32 of the sample, or of a step of 0."""
    back = g711.decode(g711.encode(ALL, codec), codec).astype(int)
    error = np.abs(back - ALL)
    assert (error <= np.maximum(smallest, (np.abs(ALL.astype(int)) + 132) / 32 + smallest))[644:-644].all()
    assert error.max() <= overload
    assert (np.sign(back) * np.sign(ALL.astype(int)) >= 0).all()


def test_every_code_but_negative_zero_survives() -> None:
    codes = bytes(range(256))
    assert g711.encode(g711.decode(codes, "pcma"), "pcma") == codes
    assert g711.encode(g711.decode(codes, "pcmu"), "pcmu") == codes.replace(b"\x7f", b"\xff")
