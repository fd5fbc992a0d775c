"""A frozen trunk in ONNX Runtime, which runs many networks faster on a CPU than PyTorch does.

    $KSHOT_HOME/encoders/KEY-SHA256.onnx    frames (n, 3, S, S) float32 -> what a cut receives, float32; n is free

Only blocks that nothing has altered run here; what a tuning method changes stays with PyTorch. KEY is a digest of their
weights and structure, so a graph never stands for other weights than those it was made of; SHA256 is that of the file.

`onnx` computes in single precision. `onnx-int8` runs matrix products in 8 bits: weights with a scale for each channel
of their output, activations with one taken from each product's own input, so nothing has to be calibrated
(onnxruntime.quantization, dynamic). Convolutions keep single precision, and a network of them is refused.
"""

from __future__ import annotations

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

if TYPE_CHECKING:
    from kshot.backbones.backbone import Backbone
    from kshot.backbones.tower import ImageTower

TOLERANCES = {"onnx": 1e-5, "onnx-int8": 0.1}  # largest relative difference to PyTorch at which a graph is kept
INT8 = "onnx-int8"
FRAMES_AT_ONCE = 4  # more gain nothing on a CPU and need the more memory
EXAMPLES = 3  # frames that a graph is traced and checked with


class Runtime:
    """Runs the trunk of a backbone, and of its copies that are tuned behind a cut, in ONNX Runtime.

    Args:
        encoder: its name in the settings.

    Attributes:
        encoder: as given.
    """

    def __init__(self, encoder: str) -> None:
        self.encoder = encoder
        self._sessions: dict[str, Any] = {}
        self._keys: dict[tuple[Any, ...], str] = {}

    def __deepcopy__(self, memo: Any) -> Runtime:
        return self  # copies of a backbone share graphs: what they run is found by its weights

    def __reduce__(self) -> tuple[Any, ...]:
        return Runtime, (self.encoder,)

    def runs(self, backbone: Backbone, frames: Tensor, cut: int) -> bool:
        """Whether these frames go to a cut by a graph, and not by PyTorch.

        Args:
            backbone: whose trunk.
            frames: (N, 3, S, S).
            cut: 0..L + 1.
        """
        if cut == 0 or frames.is_meta or frames.requires_grad:
            return False
        return not any(value.requires_grad for _, part in _before(backbone.image, cut) for value in part.parameters())

    def encode_to(self, backbone: Backbone, frames: Tensor, cut: int) -> Tensor:
        """What block `cut` receives, as `Backbone.encode_to` says.

        Args:
            backbone: whose trunk; nothing before the cut learns.
            frames: (N, 3, S, S) float32 on the CPU.
            cut: 1..L + 1.

        Raises:
            OptionError: the trunk is no graph that ONNX Runtime runs, or frames of another shape or place.
        """
        if frames.device.type != "cpu" or frames.ndim != 4 or tuple(frames.shape[1:]) != backbone.input_shape:
            raise OptionError(
                f"encoder {self.encoder} expects frames of shape (N, {', '.join(map(str, backbone.input_shape))}) on "
                f"the CPU, got {tuple(frames.shape)} on {frames.device}"
            )
        session = self._session(backbone, cut, quiet)
        parts = [
            session.run(None, {"frames": np.ascontiguousarray(part.numpy())})[0]
            for part in torch.split(frames.detach().float(), FRAMES_AT_ONCE)
        ]
        return torch.from_numpy(np.concatenate(parts))

    def prepare(self, backbone: Backbone, cut: int, progress: Progress = quiet) -> None:
        """Makes or reads the graph to a cut, so that what is wrong with it is known before the work begins.

        Args:
            backbone: whose trunk.
            cut: 0..L + 1.
            progress: how to show progress.

        Raises:
            OptionError: the trunk is no graph that ONNX Runtime runs.
            StoreError: the graph cannot be written.
        """
        if self.runs(backbone, torch.empty(0), cut):
            self._session(backbone, cut, progress)

    def _session(self, backbone: Backbone, cut: int, progress: Progress) -> Any:
        key = self._key(backbone, cut)
        if key not in self._sessions:
            graph = _read(key) if backbone.fingerprint else None
            if graph is None:
                graph = _made(self.encoder, backbone, cut, progress)
                if backbone.fingerprint:  # of a backbone built in memory nothing names what weights do not tell
                    _write(key, graph)
            self._sessions[key] = _opened(graph)
        return self._sessions[key]

    def _key(self, backbone: Backbone, cut: int) -> str:
        """A digest of all that decides what the blocks before a cut compute."""
        parts = list(_before(backbone.image, cut))
        tensors = [(f"{name}.{own}", value) for name, part in parts for own, value in _tensors(part)]
        state = (cut, *(str(part) for _, part in parts), *((value.data_ptr(), value._version) for _, value in tensors))
        if state not in self._keys:
            made = (1, self.encoder, __version__, torch.__version__, backbone.fingerprint, backbone.size)
            mark = hashlib.sha256(repr((made, cut, [(name, str(part)) for name, part in parts])).encode())
            for name, value in tensors:
                mark.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
                mark.update(value.detach().cpu().contiguous().view(-1).numpy().data)
            self._keys[state] = mark.hexdigest()[:32]
        return self._keys[state]


class Trunk(nn.Module):
    """The blocks of a backbone before a cut, by operations that other runtimes know.

    Args:
        backbone: any; it stays as it is.
        cut: 1..L + 1.
    """

    def __init__(self, backbone: Backbone, cut: int) -> None:
        super().__init__()
        self.tower = backbone.copy().image
        self.tower.plain = True
        self.cut = cut

    def forward(self, frames: Tensor) -> Tensor:
        return self.tower.encode_to(frames, self.cut)


def pick_runtime(name: str, backbone: Backbone) -> Runtime:
    """What runs a backbone's trunk in place of PyTorch.

    Args:
        name: an encoder.
        backbone: with its device and precision set.

    Raises:
        OptionError: an unknown name, a package that is missing, or a device, precision or backbone that does not fit.
    """
    expect_encoder(name)
    graphs.expect_packages(f"encoder {name}", "onnx")
    if backbone.device.type != "cpu":
        raise OptionError(f"encoder {name} runs on the CPU, found device {backbone.device}: leave one of them out")
    if backbone.precision != "float32":
        raise OptionError(
            f"encoder {name} computes in single precision, found precision {backbone.precision}: leave one of them out"
        )
    if len(backbone.input_shape) != 3:
        raise OptionError(f"encoder {name} needs frames, and {backbone.name} are ready-made features: leave it out")
    if name == INT8 and not backbone.image.quantises:
        raise OptionError(
            f"encoder {name} does not fit backbone '{backbone.name}': convolutions in 8 bits lose too much, see "
            f"docs/backbones.md: take onnx"
        )
    graphs.expect_room(backbone.name, backbone.image)
    return Runtime(name)


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


def _made(encoder: str, backbone: Backbone, cut: int, progress: Progress) -> bytes:
    """The graph of a trunk, checked against PyTorch."""
    trunk = Trunk(backbone, cut).eval()
    draw = torch.Generator().manual_seed(0)
    example = torch.randn(EXAMPLES, *backbone.input_shape, generator=draw)
    place = f"{backbone.name} up to cut {cut}"
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

    made = file.with_name("quantised.onnx")
    quantize_dynamic(
        file, made, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True,
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
