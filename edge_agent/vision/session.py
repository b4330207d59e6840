"""ONNX Runtime: a model file becomes a session that is thrifty with the processor, and its errors become ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edge_agent.runtime import DriverError

MAX_MODEL_BYTES = 512 << 20

_ORT_ERRORS = (  # they share no base class but Exception
    ort_state.EPFail,
    ort_state.EngineError,
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.ModelLoaded,
    ort_state.NoModel,
    ort_state.NoSuchFile,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)


def open_session(file: Path, threads: int) -> ort.InferenceSession:
    """A session on the CPU, one operator at a time; raises DriverError where the file is no model of a sane size."""
    try:
        if (size := file.stat().st_size) > MAX_MODEL_BYTES:
            raise DriverError(f"{file}: is {size >> 20} MiB; a model may have {MAX_MODEL_BYTES >> 20} MiB")
        model = file.read_bytes()
    except OSError as error:
        raise DriverError(f"{file}: the model cannot be read: {error.strerror}") from None
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a fifth of the CPU
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise DriverError(f"{file}: is no ONNX model that can be loaded: {_first_line(error)}") from None


def run(session: ort.InferenceSession, file: Path, tensor: Any, others: Mapping[str, Any] | None = None) -> list[Any]:
    """All outputs for the first input of a model, and `others` by name; raises DriverError naming its file."""
    try:
        outputs: list[Any] = session.run(None, {session.get_inputs()[0].name: tensor, **(others or {})})
    except _ORT_ERRORS as error:
        raise DriverError(f"{file}: the model does not run: {_first_line(error)}") from None
    return outputs


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
