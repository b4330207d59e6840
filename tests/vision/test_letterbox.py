"""Pictures into tensors and boxes back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.heads.form import IMAGENET_RGB, UNIT_RGB, Input
from edge_agent.vision.letterbox import Feeder, Letterbox

BGR = Input(rgb=False, fit="top_left")


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.sampled_from([(416, 416), (640, 384), (32, 320)]),
    st.booleans(),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_boxes_find_their_way_back_exactly(
    width: int, height: int, net: tuple[int, int], centred: bool, corners: list[float]
) -> None:
    box = Letterbox.fit(width, height, *net, centred=centred)
    assert 1 <= box.width <= net[0] and 1 <= box.height <= net[1]
    assert box.left + box.width <= net[0] and box.top + box.height <= net[1]
    frame = np.array([corners]) * [width, height, width, height]
    inside = frame * np.tile([box.scale_x, box.scale_y], 2)
    assert box.to_frame(inside + np.tile([box.left, box.top], 2)) == pytest.approx(frame, abs=1e-6 * max(width, height))


def test_yolox_is_fed_bgr_from_0_to_255_at_the_top_left_on_grey_114() -> None:
    # yolox/data/data_augment.py, preproc: padded_img = 114, resized to the top left, no normalisation
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:] = (10, 20, 30)
    tensor, box = Feeder(64, 64, BGR).feed(pixels)
    assert tensor.shape == (1, 3, 64, 64) and tensor.dtype == np.float32
    assert tensor[0, :, 0, 0].tolist() == [10, 20, 30]
    assert (box.width, box.height, box.left, box.top) == (64, 32, 0, 0)
    assert (tensor[0, :, 32:] == 114).all() and (tensor[0, 1, :32] == 20).all()


def test_yolov8_is_fed_centred_rgb_from_0_to_1() -> None:
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:] = (0, 51, 255)
    tensor, box = Feeder(64, 64, UNIT_RGB).feed(pixels)
    assert tensor[0, :, 32, 5].tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert box.top == 16 and tensor[0, 0, 15, 0] == pytest.approx(114 / 255)


def test_a_new_frame_size_leaves_nothing_of_the_old_one() -> None:
    feeder = Feeder(64, 64, BGR)
    feeder.feed(np.full((64, 64, 3), 255, dtype=np.uint8))
    tensor, _ = feeder.feed(np.full((16, 64, 3), 255, dtype=np.uint8))
    assert (tensor[0, :, 16:] == 114).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
def test_pictures_of_odd_shapes_can_be_fed(shape: tuple[int, int]) -> None:
    Feeder(64, 64, BGR).feed(np.zeros((*shape, 3), dtype=np.uint8))


def test_picodet_is_fed_stretched_rgb_with_imagenet_s_mean_and_deviation() -> None:
    # ppdet/data/transform, NormalizeImage: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    pixels = np.zeros((16, 64, 3), dtype=np.uint8)
    pixels[:] = (0, 100, 255)
    tensor, box = Feeder(32, 32, IMAGENET_RGB).feed(pixels)
    wanted = [(1 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    assert tensor[0, :, 31, 31].tolist() == pytest.approx(wanted, abs=1e-5)
    assert box.to_frame(np.array([[0.0, 0, 32, 32]])).tolist() == [[0, 0, 64, 16]]


def test_a_net_of_bytes_gets_them_as_they_are() -> None:
    pixels = np.zeros((32, 64, 3), dtype=np.uint8)
    pixels[:] = (7, 8, 9)
    form = Input(rgb=True, fit="top_left", std=(255.0, 255.0, 255.0), pad=3, nhwc=True)
    tensor, _ = Feeder(64, 64, form, np.uint8).feed(pixels)
    assert tensor.shape == (1, 64, 64, 3) and tensor.dtype == np.uint8
    assert tensor[0, 5, 5].tolist() == [9, 8, 7] and tensor[0, 60, 5].tolist() == [3, 3, 3]


def test_corners_find_their_way_back_as_boxes_do() -> None:
    box = Letterbox.fit(200, 100, 64, 64, centred=True)
    corners = np.array([[[32.0, 16], [64, 16], [64, 48], [32, 48]]])
    assert box.to_frame(corners).tolist() == [[[100, 0], [200, 0], [200, 100], [100, 100]]]
    assert box.to_frame(np.zeros((0, 4))).shape == (0, 4)


def test_a_smaller_copy_of_the_picture_makes_the_same_tensor_where_it_is_large_enough() -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (90, 192, 3), dtype=np.uint8)
    copy = np.asarray(cv2.resize(pixels, (64, 30)), dtype=np.uint8)
    tensor, box = Feeder(64, 64, UNIT_RGB).feed(pixels)
    again, same = Feeder(64, 64, UNIT_RGB).feed(pixels, copy)
    assert same == box and (again == tensor).all()
    larger, _ = Feeder(96, 96, UNIT_RGB).feed(pixels, np.zeros_like(copy))
    assert larger.any()


def test_a_net_of_signed_bytes_gets_them_less_128() -> None:
    # TensorFlow Lite, 8-bit quantization specification: int8, zero point -128 where the values are those of a picture
    pixels = np.zeros((32, 64, 3), dtype=np.uint8)
    pixels[:] = (0, 128, 255)
    tensor, _ = Feeder(64, 64, BGR, np.int8).feed(pixels)
    assert tensor.dtype == np.int8
    assert tensor[0, :, 0, 0].tolist() == [-128, 0, 127] and tensor[0, 0, 63, 0] == 114 - 128
