"""The label of a device: its id and claim as a QR code that a phone, a camera or this program reads."""

from __future__ import annotations

import io
from pathlib import Path

from edge_agent.runtime import DriverError

SCALE, BORDER, LINE_PX, MARGIN_PX = 8, 4, 40, 12
MAX_PICTURE = 32 * 1024 * 1024


def label_png(claim: str, lines: tuple[str, ...]) -> bytes:
    """A PNG: the claim as a QR code (ISO/IEC 18004, level M or better), and under it these lines (ASCII)."""
    import cv2
    import numpy as np
    import segno

    stream = io.BytesIO()
    segno.make(claim, error="m", micro=False).save(stream, kind="png", scale=SCALE, border=BORDER)
    code = cv2.imdecode(np.frombuffer(stream.getvalue(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert code is not None
    height, width = code.shape
    sheet = np.full((height + LINE_PX * len(lines) + MARGIN_PX, width), 255, np.uint8)
    sheet[:height] = code
    for number, line in enumerate(lines):
        (wide, _), _ = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 2)
        scale = min(1.0, (width - 2 * MARGIN_PX) / max(wide, 1))
        at = (MARGIN_PX, height + LINE_PX * number + LINE_PX * 3 // 4)
        cv2.putText(sheet, line, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 0, 2, cv2.LINE_AA)
    done, png = cv2.imencode(".png", sheet)
    assert done
    return png.tobytes()


def read_qr(file: Path) -> str:
    """The text of the QR code in a picture; DriverError where there is none to read."""
    import cv2
    import numpy as np

    try:
        data = file.read_bytes()
    except OSError as error:
        raise DriverError(f"{file}: {error.strerror}; give the text of the QR code, or a picture of it") from None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if 0 < len(data) < MAX_PICTURE else None
    if picture is None:
        raise DriverError(f"{file}: is no picture: give a PNG or JPEG of the label")
    readers = (cv2.QRCodeDetectorAruco(), cv2.QRCodeDetector())  # the second finds no code in one clean label of thirty
    for attempt in (picture, cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)):
        for reader in readers:
            text, _, _ = reader.detectAndDecode(attempt)
            if text:
                return str(text)
    raise DriverError(f"{file}: no QR code can be read in it; take it straight on, sharp, and fill the picture")
