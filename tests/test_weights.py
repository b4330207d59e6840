"""The project's own models: found by name, and nothing else is."""

import pytest

from edge_agent import weights
from edge_agent.runtime import DriverError


@pytest.mark.parametrize("name", ["no-such-model", "", "../weights/no", "a/b"])
def test_a_model_that_did_not_come_along_is_named(name: str) -> None:
    with pytest.raises(DriverError, match="no model"):
        weights.path(name)


def test_each_model_is_a_file_that_carries_its_name() -> None:
    for name in weights.names():
        assert weights.path(name).name == f"{name}.onnx"
