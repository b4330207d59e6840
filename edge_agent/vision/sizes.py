"""At which size a net looks that leaves its size open: in the picture's own shape; pure.

A wide picture in a square input leaves nearly half of it grey. In an input of its own shape, of as many pixels and so
of the same cost, it is a third larger.
"""

from __future__ import annotations

import math
from functools import lru_cache

STEP = 32  # of the sides, in pixels: the coarsest stride of the usual families
LONGEST = 3.0  # times the other side: a longer picture is letterboxed in that; so a few dozen sizes of as many pixels
OVER = 1.05  # of the pixels that may be used: 384 x 224 for 288 x 288
SHRUNK = 2.0  # times that a picture may be made smaller before a net looks at more pixels, if it gains by them


def budget(width: int, height: int, own: int, most: int) -> int:
    """Pixels of the input for such a picture: the net's own, for a large one up to `most`, where that is more."""
    return max(own, min(most, int(width * height / SHRUNK**2)))


@lru_cache(maxsize=256)
def own_size(width: int, height: int, pixels: int, step: int = STEP) -> tuple[int, int]:
    """Width and height of the input of about `pixels` in which this picture is largest; of those the smallest."""
    ratio = min(max(width / height, 1 / LONGEST), LONGEST)
    most = max(pixels * OVER / step**2, 1.0)
    sizes = [(across, min(int(most / across), math.ceil(across / ratio - 1e-9))) for across in range(1, int(most) + 1)]
    across, down = max(sizes, key=lambda size: (min(size[0] / ratio, size[1]), -size[0] * size[1]))
    return across * step, down * step
