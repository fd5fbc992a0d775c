"""A frozen trunk in ONNX Runtime, which runs many networks faster on a CPU than PyTorch does.

    $KSHOT_HOME/encoders/KEY-SHA256.onnx    frames (n, 3, S, S) float32 -> what a cut receives, float32; n is free

Only blocks that nothing has altered run here; what a tuning method changes stays with PyTorch. KEY is a digest of their
weights and structure, so a graph never stands for other weights than those it was made of; SHA256 is that of the file.

`onnx` computes in single precision. `onnx-int8` runs matrix products in 8 bits: weights with a scale for each channel
of their output, activations with one taken from each product's own input, so nothing has to be calibrated
(onnxruntime.quantization, dynamic). Convolutions keep single precision, and a network of them is refused.
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kshot import __version__
from kshot.backbones import graphs
from kshot.backbones.devices import expect_encoder
from kshot.errors import KshotError, OptionError
from kshot.files import disk, write_atomic
from kshot.paths import home
from kshot.progress import Progress, quiet
from kshot.settings import COMPILE

if TYPE_CHECKING:
    from kshot.backbones.compiled import Compiled
    from kshot.backbones.tower import ImageTower

TOLERANCES = {"onnx": 1e-5, "onnx-int8": 0.1}  # largest relative difference to PyTorch at which a graph is kept
INT8 = "onnx-int8"
FRAMES_AT_ONCE = 4  # more gain nothing on a CPU and need the more memory
EXAMPLES = 3  # frames that a graph is traced and checked with


class Runtime:
    """Runs the trunk of a backbone, and of its copies that are tuned behind a cut, in ONNX Runtime.

    Args:
        encoder: its name in the settings.
        name: of the backbone, for messages.
        fingerprint: of the backbone; "" for one built in memory, whose graphs are kept in memory, too.

    Attributes:
        encoder: as given.
    """

    def __init__(self, encoder: str, name: str, fingerprint: str) -> None:
        self.encoder = encoder
        self._name, self._fingerprint = name, fingerprint
        self._sessions: dict[str, Any] = {}
        self._keys: dict[tuple[Any, ...], str] = {}

    def __deepcopy__(self, memo: Any) -> Runtime:
        return self  # copies of a backbone share graphs: what they run is found by its weights

    def __reduce__(self) -> tuple[Any, ...]:
        return Runtime, (self.encoder, self._name, self._fingerprint)

    def runs(self, tower: ImageTower, frames: Tensor, cut: int) -> bool:
        """Whether these frames go to a cut by a graph, and not by PyTorch.

        Args:
            tower: of the backbone.
            frames: (N, 3, S, S).
            cut: 0..L + 1.
        """
        return not frames.is_meta and not frames.requires_grad and frozen(tower, cut)

    def encode_to(self, tower: ImageTower, frames: Tensor, cut: int) -> Tensor:
        """What block `cut` receives, as `Tower.encode_to` says.

        Args:
            tower: of the backbone; nothing before the cut learns.
            frames: (N, 3, S, S) float32 on the CPU.
            cut: 1..L + 1.

        Raises:
            OptionError: the trunk is no graph that ONNX Runtime runs, or frames of another shape or place.
        """
        shape = (3, tower.size, tower.size)
        if frames.device.type != "cpu" or frames.ndim != 4 or tuple(frames.shape[1:]) != shape:
            raise OptionError(
                f"encoder {self.encoder} expects frames of shape (N, {', '.join(map(str, shape))}) on the CPU, got "
                f"{tuple(frames.shape)} on {frames.device}"
            )
        session = self._session(tower, cut, quiet)
        parts = [
            session.run(None, {"frames": np.ascontiguousarray(part.numpy())})[0]
            for part in torch.split(frames.detach().float(), FRAMES_AT_ONCE)
        ]
        return torch.from_numpy(np.concatenate(parts))

    def prepare(self, tower: ImageTower, cut: int, progress: Progress = quiet) -> None:
        """Makes or reads the graph to a cut, so that what is wrong with it is known before the work begins.

        Args:
            tower: of the backbone.
            cut: 0..L + 1.
            progress: how to show progress.

        Raises:
            OptionError: the trunk is no graph that ONNX Runtime runs.
            StoreError: the graph cannot be written.
        """
        if frozen(tower, cut):
            self._session(tower, cut, progress)

    def _session(self, tower: ImageTower, cut: int, progress: Progress) -> Any:
        key = self._key(tower, cut)
        if key not in self._sessions:
            graph = _read(key) if self._fingerprint else None
            if graph is None:
                graph = _made(self.encoder, f"{self._name} up to cut {cut}", tower, cut, progress)
                if self._fingerprint:  # of a backbone built in memory nothing names what weights do not tell
                    _write(key, graph)
            self._sessions[key] = _opened(graph)
        return self._sessions[key]

    def _key(self, tower: ImageTower, cut: int) -> str:
        """A digest of all that decides what the blocks before a cut compute."""
        parts = list(_before(tower, cut))
        tensors = [(f"{name}.{own}", value) for name, part in parts for own, value in _tensors(part)]
        state = (cut, *(str(part) for _, part in parts), *((value.data_ptr(), value._version) for _, value in tensors))
        if state not in self._keys:
            made = (1, self.encoder, __version__, torch.__version__, self._fingerprint, tower.size)
            mark = hashlib.sha256(repr((made, cut, [(name, str(part)) for name, part in parts])).encode())
            for name, value in tensors:
                mark.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
                mark.update(value.detach().cpu().contiguous().view(-1).numpy().data)
            self._keys[state] = mark.hexdigest()[:32]
        return self._keys[state]


class Trunk(nn.Module):
    """The blocks of an image tower before a cut, by operations that other runtimes know.

    Args:
        tower: any; it stays as it is.
        cut: 1..L + 1.
    """

    def __init__(self, tower: ImageTower, cut: int) -> None:
        super().__init__()
        self.tower = copy.deepcopy(tower, {id(value): value for value in tower.parameters()})  # weights are shared
        self.tower.plain = True
        self.cut = cut

    def forward(self, frames: Tensor) -> Tensor:
        return self.tower.encode_to(frames, self.cut)


def pick_runtime(encoder: str, tower: ImageTower, name: str, fingerprint: str) -> Runtime | Compiled:
    """What runs a backbone's trunk in place of PyTorch.

    Args:
        encoder: its name.
        tower: of the backbone, with its device and precision set.
        name: of the backbone.
        fingerprint: of the backbone.

    Raises:
        OptionError: an unknown name, a package that is missing, or a device, precision or backbone that does not fit.
    """
    expect_encoder(encoder)
    if encoder == COMPILE:
        from kshot.backbones.compiled import Compiled

        if not tower.size:
            raise OptionError(f"encoder {encoder} needs frames, and {name} are ready-made features: leave it out")
        return Compiled()
    graphs.expect_packages(f"encoder {encoder}", "onnx")
    device, precision = next(tower.parameters()).device, str(tower.precision).removeprefix("torch.")
    if device.type != "cpu":
        raise OptionError(f"encoder {encoder} runs on the CPU, found device {device}: leave one of them out")
    if precision != "float32":
        raise OptionError(
            f"encoder {encoder} computes in single precision, found precision {precision}: leave one of them out"
        )
    if (unit := getattr(tower, "unit", 1)) > 1:
        raise OptionError(
            f"encoder {encoder} runs networks that see one frame at a time, and {name} sees {unit}: take encoder torch"
        )
    if not tower.size:
        raise OptionError(f"encoder {encoder} needs frames, and {name} are ready-made features: leave it out")
    if encoder == INT8 and not tower.quantises:
        raise OptionError(
            f"encoder {encoder} does not fit backbone '{name}': convolutions in 8 bits lose too much, see "
            f"docs/backbones.md: take onnx"
        )
    graphs.expect_room(name, tower)
    return Runtime(encoder, name, fingerprint)


def frozen(tower: ImageTower, cut: int) -> bool:
    """Whether there are blocks before a cut, and nothing in them learns."""
    return cut > 0 and not any(value.requires_grad for _, part in _before(tower, cut) for value in part.parameters())


def _before(tower: ImageTower, cut: int) -> Iterator[tuple[str, nn.Module]]:
    """The parts of an image tower that work before a cut, by name; at cut L + 1 the last block's end as well."""
    for name, part in tower.named_children():
        if name == "blocks":
            yield from ((f"blocks.{number}", block) for number, block in enumerate(tower.blocks[: max(cut - 1, 0)]))
        elif name != "feature" and (cut > tower.depth or name not in ("norm", "projection")):
            yield name, part


def _tensors(part: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from part.named_parameters()
    yield from part.named_buffers()


def _made(encoder: str, place: str, tower: ImageTower, cut: int, progress: Progress) -> bytes:
    """The graph of a trunk, called `place` in messages, checked against PyTorch."""
    trunk = Trunk(tower, cut).eval()
    draw = torch.Generator().manual_seed(0)
    example = torch.randn(EXAMPLES, 3, tower.size, tower.size, generator=draw)
    with progress(f"{place} for ONNX Runtime", 2, "steps") as step, tempfile.TemporaryDirectory() as folder:
        step(0, "translating")
        file = Path(folder) / "trunk.onnx"
        try:
            graphs.translate(trunk, example, ("frames",), ("activations",)).save(file)
            if encoder == INT8:
                file = _quantised(file)
        except KshotError:
            raise
        except Exception as error:  # the exporter's own kinds are many
            reason = str(error).strip().partition("\n")[0]
            raise OptionError(
                f"{place} is no graph that ONNX Runtime could run ({type(error).__name__}: {reason}): use encoder torch"
            ) from None
        step(1, "checking")
        graph = file.read_bytes()
        with torch.no_grad():
            wanted = trunk(example)
        found = torch.from_numpy(_opened(graph).run(None, {"frames": example.numpy()})[0])
        difference = float((found - wanted).norm() / wanted.norm())
        if not difference <= TOLERANCES[encoder]:  # a NaN is no agreement either
            raise OptionError(
                f"{place} differs from PyTorch by {difference:.1g} in ONNX Runtime, more than {TOLERANCES[encoder]:g}: "
                f"use encoder torch"
            )
        step(1, "")
    return graph


def _quantised(file: Path) -> Path:
    """The graph with its matrix products in 8 bits, in a file of its own."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, made = file.with_name("plain.onnx"), file.with_name("quantised.onnx")
    quant_pre_process(str(file), str(plain), skip_symbolic_shape=True)
    quantize_dynamic(
        plain, made, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True,
        reduce_range=True,  # to 7 bits: pairs of products would overflow on a CPU without instructions for them
    )  # fmt: skip
    return made


def _opened(graph: bytes) -> Any:
    """A session on as many threads as PyTorch has; they wait without keeping a core busy, which decoding needs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _read(key: str) -> bytes | None:
    """A graph that was kept, None for none; one that is not what it was made as is made again."""
    for path in sorted((home() / "encoders").glob(f"{key}-*.onnx")):
        try:
            graph = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(graph).hexdigest() == path.stem.partition("-")[2]:
            return graph
    return None


def _write(key: str, graph: bytes) -> None:
    folder = home() / "encoders"
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{key}-*.onnx"):  # damaged, or it would have been read
            old.unlink(missing_ok=True)
        write_atomic(folder / f"{key}-{hashlib.sha256(graph).hexdigest()}.onnx", graph)
