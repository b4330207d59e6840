"""What a warning says: fields, plates and times as they are spoken."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.messages import Incident, Phrase, Plate
from edge_agent.phrases import clock_words, phrase_faults, pronounceable, text_for

SHANGHAI = ZoneInfo("Asia/Shanghai")


def incident(**facts: object) -> Incident:
    given_facts = {
        "id": "0",
        "kind": "dwell",
        "rule": "r",
        "camera": "gate",
        "zone": "lay-by",
        "track": 1,
        "label": "truck",
        "score": 0.9,
        "box": (0.0, 0.0, 1.0, 1.0),
        "began_s": 0.0,
        "wall_s": 1_795_354_205.0,  # 2026-11-22 21:30:05 in Shanghai
        "at_s": 0.0,
        "lasted_s": 0.0,
        "frame": 0,
        "plate": Plate(text="粤B12389", confidence=0.9, box=(0.0, 0.0, 1.0, 1.0)),
    }
    return Incident(**(given_facts | facts))


def said(text: str, lang: str = "cmn", **facts: object) -> str:
    return text_for((Phrase(text=text, lang=lang),), incident(**facts), SHANGHAI)[0].text


def test_a_plate_is_spelt_in_mandarin_and_plain_in_english() -> None:
    assert said("{plate}，请驶离") == "粤 B 幺 二 三 八 九，请驶离"
    assert said("{plate}, move on", "en") == "粤B12389, move on"


def test_time_is_local_and_in_words_in_mandarin() -> None:
    assert said("现在{time}") == "现在二十一点三十分"
    assert said("it is {time}", "en") == "it is 21:30"


def test_labels_zones_and_cameras_are_filled_in() -> None:
    assert said("{label} {zone} {camera}") == "货车 lay-by gate"
    assert said("{label} {{x}}", "en", label="person") == "person {x}"


def test_the_color_is_the_plates_and_the_place_what_the_zone_is_called_aloud() -> None:
    green = Plate(text="粤BD12345", confidence=0.9, box=(0.0, 0.0, 1.0, 1.0), color="yellow-green")
    assert said("{color}牌照{plate}", plate=green) == "黄绿色牌照粤 B D 幺 二 三 四 五"
    assert said("{colour} plate", "en", plate=green) == "yellow green plate"
    assert said("{color}{label}", plate=None) == "货车"
    spoken = {"lay-by": {"cmn": "港湾停车带"}}
    text = (Phrase(text="{place}"), Phrase(text="{place}", lang="en"))
    assert [one.text for one in text_for(text, incident(), SHANGHAI, spoken)] == ["港湾停车带", "lay-by"]
    assert said("{place}", zone="") == "gate"


@pytest.mark.parametrize(("text", "cmn", "en"), [("??·", "号牌未识别", "plate not read"), ("学?7", "学 七", "7")])
def test_a_plate_of_nonsense_is_spelt_as_far_as_it_can_be_said(text: str, cmn: str, en: str) -> None:
    plate = Plate(text=text, confidence=0.1, box=(0.0, 0.0, 1.0, 1.0))
    assert (said("{plate}", plate=plate), said("{plate}", "en", plate=plate)) == (cmn, en)
    foreign = Plate(text="AB1234", confidence=0.9, box=(0.0, 0.0, 1.0, 1.0))
    assert said("{plate}", "en", plate=foreign) == "A B 1 2 3 4"


def test_a_vehicle_without_a_read_plate_is_still_spoken_to() -> None:
    assert said("{plate}", plate=None) == "号牌未识别"
    assert said("{plate}", "en", plate=None) == "plate not read"


@pytest.mark.parametrize(
    ("text", "lang", "fault"),
    [
        (
            "车牌{palte}请离开",
            "cmn",
            "say[0].text: no field is called {palte} (there is: camera, color, colour, label,",
        ),
        ("{palte} go", "en", "did you mean {plate}?"),
        ("{} go", "en", "no field is called {}"),
        ("{plate.text} go", "en", "no field is called {plate.text}"),
        ("{plate:>9} go", "en", "takes no format or conversion"),
        ("{plate!r} go", "en", "takes no format or conversion"),
        ("go {plate", "en", "a brace that is meant to be read doubles"),
        ("go }", "en", "a brace that is meant to be read doubles"),
        ("😀，！", "cmn", "nothing is left to say"),
        ("{color}", "en", "nothing is left to say"),
        ("\x00\x1b", "en", "nothing is left to say"),
        ("leave the 河岸", "en", "cannot be read by the voice of lang 'en'"),
    ],
)
def test_a_text_that_cannot_be_said_is_a_fault_of_the_config(text: str, lang: str, fault: str) -> None:
    faults = phrase_faults((Phrase(text=text, lang=lang),))
    assert len(faults) == 1
    assert fault in faults[0]


def test_good_texts_have_no_fault() -> None:
    assert phrase_faults((Phrase(text="{plate}"), Phrase(text="{{x}} {zone} {time} {label} {camera}", lang="en"))) == []


@pytest.mark.parametrize(
    ("text", "lang", "spoken"),
    [
        ("粤B·12389请驶离", "cmn", "粤 B 幺 二 三 八 九请驶离"),
        ("粤B12389D 请驶离", "cmn", "粤 B 幺 二 三 八 九 D 请驶离"),  # new-energy plates have one more
        ("粤B12389, move on", "en", "Yue B 1 2 3 8 9, move on"),
        ("粤B1234学", "en", "Yue B 1 2 3 4"),
        ("粤B1234学", "cmn", "粤 B 幺 二 三 四 学"),
        ("请于21:05前离开", "cmn", "请于二十一点零五分前离开"),
        ("请拨打13800138000", "cmn", "请拨打幺 三 八 零 零 幺 三 八 零 零 零"),
        ("call 13800138000", "en", "call 1 3 8 0 0 1 3 8 0 0 0"),
        ("前方500米", "cmn", "前方500米"),
        ("注意⚠️危险\n\t请\x07离开\ud800", "cmn", "注意 危险 请 离开"),
        ("a\u200bb", "en", "a b"),
    ],
)
def test_numbers_are_written_as_they_are_spoken(text: str, lang: str, spoken: str) -> None:
    assert pronounceable(text, lang) == spoken


def test_times_in_mandarin() -> None:
    assert [clock_words(*at) for at in ((0, 0), (8, 0), (10, 10), (20, 1), (23, 59))] == [
        "零点整",
        "八点整",
        "十点十分",
        "二十点零一分",
        "二十三点五十九分",
    ]


@given(st.text(max_size=500), st.sampled_from(["cmn", "en"]))
def test_any_text_is_pronounceable_for_good_or_refused(text: str, lang: str) -> None:
    try:
        once = pronounceable(text, lang)
    except ValueError as error:
        assert str(error)
        return
    assert pronounceable(once, lang) == once
    assert once.encode()
    assert "\0" not in once


@given(st.none() | st.text(alphabet="粤京使学警AB019D·", min_size=1, max_size=9))
def test_no_plate_however_badly_read_silences_a_warning(plate: str | None) -> None:
    read = plate and Plate(text=plate, confidence=0.1, box=(0.0, 0.0, 1.0, 1.0))
    for lang in ("cmn", "en"):
        assert pronounceable(said("{plate}, go", lang, plate=read), lang)
