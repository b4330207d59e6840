"""A model file becomes a network that runs: what every backend tells of one, and the one there is, ONNX Runtime."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edge_agent.runtime import DriverError

MAX_MODEL_BYTES = 512 << 20
MAX_MEMORY_BYTES = 2 << 30  # that a model may ask for while it is loaded and tried
TRIED_S = 20.0  # that its first picture may take
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate memory")
_ONE_AT_A_TIME = threading.Lock()  # the limit is the whole process's

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


class Trial(Protocol):
    """What stops a run from another thread: ONNX Runtime's RunOptions, as any backend may read them."""

    terminate: bool


class Port(NamedTuple):
    """An input or an output of a network."""

    name: str
    kind: str  # as ONNX Runtime writes it: tensor(float), tensor(uint8), ...
    shape: tuple[int | str | None, ...]  # a name, or None, where a side is open


class Backend(Protocol):
    """A network that is loaded: all that detectors and readers ask of it, so that NCNN or a Hailo can follow."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: dict[str, str]

    def run(self, inputs: Mapping[str, Any], trial: Trial | None = None) -> list[Any]:
        """All outputs, in their order, for arrays by the names of the inputs; raises DriverError naming the file."""
        ...


def open_backend(file: Path, threads: int, *, plain: bool = False) -> Backend:
    """The network of an ONNX file; raises DriverError where it is no model of a sane size.

    A `plain` one works nothing out while it is loaded, which nothing could stop: what it costs shows when it runs.
    """
    return _OnnxRuntime(file, threads, plain)


class _OnnxRuntime:
    """A session on the CPU, thrifty with the processor: one operator at a time, and nobody spins while he waits."""

    def __init__(self, file: Path, threads: int, plain: bool) -> None:
        self._file = file
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # a fifth of the CPU
        # weights in a file beside the model, as torch exports them; the runtime takes none from outside that directory
        folder = str(file.parent.absolute())
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        options.log_severity_level = 4
        if plain:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = ort.InferenceSession(_read(file), sess_options=options, providers=["CPUExecutionProvider"])
        except (*_ORT_ERRORS, MemoryError) as error:
            raise DriverError(f"{file}: is no ONNX model that can be loaded: {_reason(error)}") from None
        self.inputs, self.outputs = (
            tuple(Port(str(one.name), str(one.type), tuple(one.shape)) for one in side)
            for side in (self._session.get_inputs(), self._session.get_outputs())
        )
        self.metadata = {str(k): str(v) for k, v in self._session.get_modelmeta().custom_metadata_map.items()}

    def run(self, inputs: Mapping[str, Any], trial: Trial | None = None) -> list[Any]:
        try:
            outputs: list[Any] = self._session.run(None, inputs, trial)
        except (*_ORT_ERRORS, MemoryError) as error:
            raise DriverError(f"{self._file}: the model does not run: {_reason(error)}") from None
        return outputs


def _read(file: Path) -> bytes:
    try:
        if not file.is_file() and not file.is_dir() and file.exists():
            raise DriverError(f"{file}: is no file that could be a model, but a device or a pipe")
        if (size := file.stat().st_size) > MAX_MODEL_BYTES:
            raise DriverError(f"{file}: is {size >> 20} MiB; a model may have {MAX_MODEL_BYTES >> 20} MiB")
        model = file.read_bytes()
    except OSError as error:
        raise DriverError(f"{file}: the model cannot be read: {error.strerror}") from None
    if model.startswith(b"version https://git-lfs"):
        raise DriverError(f"{file}: is a pointer of Git LFS, not the model; `git lfs pull` fetches it")
    return model


@contextmanager
def on_trial(file: Path) -> Iterator[Trial]:
    """A model nobody knows yet gets so much memory and, run with this, so much time; raises DriverError.

    A file may be well-formed and still want ten gigabytes, or go round in a loop for ever: on a drone's computer the
    kernel would end the agent for the one, and nothing would end the other.
    """
    trial, late = ort.RunOptions(), threading.Event()

    def stop() -> None:
        late.set()
        trial.terminate = True

    timer = threading.Timer(TRIED_S, stop)
    timer.daemon = True
    with _ONE_AT_A_TIME:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = _mapped_bytes() + MAX_MEMORY_BYTES
        bounds = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
        timer.start()
        try:
            resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *bounds]), hard))
            yield trial
        except DriverError:
            if not late.is_set():
                raise
            raise DriverError(
                f"{file}: its first picture took more than {TRIED_S:g} s: it loops, or is too large"
            ) from None
        finally:
            timer.cancel()
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _mapped_bytes() -> int:
    """The address space of this process (proc(5), statm: in pages)."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _reason(error: BaseException) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0][:300]
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return f"it wants more than {MAX_MEMORY_BYTES >> 20} MiB of memory"
    return text
