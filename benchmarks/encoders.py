"""What encodes a frame how fast on a CPU: `lite` and a ViT-B/16 by PyTorch and by ONNX Runtime, and `watch` on a film.

    python benchmarks/encoders.py [--threads 1] [--repeats 5] [--seconds 20] [--no-int8] [--json]

Encoding: decoded frames to what enters the last block. ViT-B/16 has random weights, which cost as much as learned ones,
and is run by PyTorch in single precision and by the same ONNX Runtime. All ways take turns within a round; ratios to
ViT-B/16 by PyTorch are taken within a round, and their median is shown. Processor time, so that a machine that others
use too gives nearly the same figures.

`watch`: a film of 25 frames a second and random blocks that move (320x240, H.264) through the code of `kshot watch`,
every frame of it encoded and no frame waited for. Frames a second of processor time, that of its decoder included,
and the share of one core that 25 frames a second need.

8 bits: the agreement of `lite` with itself in 8 bits (onnxruntime.quantization, static, for each channel, calibrated on
coloured noise), by three schemes; why `kshot --encoder onnx-int8` refuses it. Frames are those of the drawn `motion`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import av
import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel

from kshot import Recognizer, datasets
from kshot.activations.recipe import Recipe
from kshot.backbones import graphs
from kshot.backbones.backbone import Backbone, load
from kshot.backbones.runtime import Trunk
from kshot.recognizer.stream.watch import Live, Sample
from kshot.recognizer.stream.windows import WindowSettings
from kshot.video import Samples, Taken
from kshot.video.workers import decode

WIDTH, HEIGHT, RATE = 320, 240, 25
FRAMES = 8  # of a window
AT_ONCE = {"lite": 16, "ViT-B/16": 4}


def taken(work: Callable[[], object]) -> float:
    begin = sum(os.times()[:4])
    work()
    return sum(os.times()[:4]) - begin


def encoded(backbone: Backbone, count: int) -> Callable[[], object]:
    x = torch.randn(count, *backbone.input_shape)

    def work() -> object:
        with torch.inference_mode():
            return backbone.encode_to(x, backbone.depth)

    return work


def encoding(repeats: int) -> dict[str, Any]:
    """Seconds a frame of every way, how far ONNX Runtime is from PyTorch, and ratios to ViT-B/16 by PyTorch."""
    torch.manual_seed(0)
    networks = {"lite": load("lite"), "ViT-B/16": Backbone(CLIPModel(CLIPConfig(vision_config={"patch_size": 16})))}
    ways: dict[str, tuple[Callable[[], Any], int]] = {}
    for name, network in networks.items():
        for encoder in ("torch", "onnx", *(["onnx-int8"] if network.image.quantises else [])):
            made = network.copy()
            made.set_encoder(encoder)
            torch.manual_seed(1)
            ways[f"{name}, {encoder}"] = encoded(made, AT_ONCE[name]), AT_ONCE[name]
    first = {name: work() for name, (work, _) in ways.items()}
    rounds = [{name: taken(work) / count for name, (work, count) in ways.items()} for _ in range(repeats)]

    def difference(name: str) -> float:
        reference = first[f"{name.partition(',')[0]}, torch"]
        return float((first[name] - reference).norm() / reference.norm())

    return {
        name: {
            "seconds": statistics.median(one[name] for one in rounds),
            "times ViT-B/16, torch": statistics.median(one["ViT-B/16, torch"] / one[name] for one in rounds),
            "relative difference": difference(name),
        }
        for name in ways
    }


def film(path: Path, seconds: int) -> Path:
    """A textured scene that drifts."""
    texture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": "26", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(seconds * RATE):
            top, left = index * 2 % 240, index * 3 % 320
            frame = av.VideoFrame.from_ndarray(texture[top : top + HEIGHT, left : left + WIDTH].copy(), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def watching(path: Path, encoder: str) -> dict[str, float]:
    """Frames a second of processor time, decoded, encoded and scored one by one, as `kshot watch` does."""
    draw = np.random.default_rng(0)
    clips = [draw.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8) for _ in range(6)]
    model = Recognizer("lite", method="prototype", frames=FRAMES, reject=False, encoder=encoder).fit(
        clips, ["one", "other"] * 3
    )
    model.clip_seconds_ = FRAMES / RATE  # so that a window has every frame of the film
    settings = WindowSettings.of(model)
    assert abs(settings.interval - 1 / RATE) < 1e-9, settings
    count = 0

    def work() -> None:
        nonlocal count
        live = Live(model, settings)
        for interval, frame in Samples(path, settings.interval, model.size, model.framing):
            live.take(Sample(interval, frame, time.monotonic()))
            count += 1

    work()
    count = 0
    seconds = taken(work)
    return {"frames a second": count / seconds, "share of a core at 25": seconds / count * RATE}


def noise(count: int, side: int) -> NDArray[np.uint8]:
    """Coloured noise, whose spectrum falls with frequency as that of pictures does."""
    draw, pictures = np.random.default_rng(1), []
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(down, across)
    frequency[0, 0] = 1
    for _ in range(count):
        spectrum = np.fft.rfft2(draw.normal(size=(3, side, side))) / frequency ** draw.uniform(0.8, 1.6)
        grey = np.einsum("ij,jhw->ihw", 1 + 0.5 * draw.normal(size=(3, 3)), np.fft.irfft2(spectrum, (side, side)))
        scaled = (grey - grey.mean()) / grey.std() * draw.uniform(30, 80) + draw.uniform(60, 190)
        pictures.append(scaled.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    return np.stack(pictures)


def eight_bits() -> dict[str, dict[str, float]]:
    """Scheme -> mean cosine of embeddings with those of single precision, and seconds a frame."""
    import onnx
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    lite = load("lite")
    cut, data = lite.depth, datasets.load("motion:4")
    jobs = (Recipe(cut).job(path, lite.size) for path in data.paths[:16])
    x = lite.pixels(np.concatenate([one.frames for _, one in decode(jobs, 0) if isinstance(one, Taken)])).contiguous()

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[torch.Tensor] = iter(torch.split(lite.pixels(noise(96, lite.size)).contiguous(), 4))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"frames": batch.numpy()}

    found = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        whole, plain, small = (str(Path(folder) / name) for name in ("whole.onnx", "plain.onnx", "small.onnx"))
        graphs.translate(Trunk(lite.image, cut).eval(), x[:3].clone(), ("frames",), ("activations",)).save(whole)
        quant_pre_process(whole, plain, skip_symbolic_shape=True)
        convolutions = [node for node in onnx.load(plain).graph.node if node.op_type == "Conv"]
        grouped = [n.name for n in convolutions if any(a.name == "group" and a.i > 1 for a in n.attribute)]
        first = [node.name for node in convolutions[:6]]
        wanted = lite.encode_from(lite.encode_to(x, cut), cut)
        for scheme, kept in {
            "every convolution": [], "but the first six": first, "but depthwise and the first": [*grouped, first[0]],
        }.items():  # fmt: skip
            quantize_static(
                plain, small, Noise(), per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8, op_types_to_quantize=["Conv", "Add"], nodes_to_exclude=kept,
            )  # fmt: skip
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            session = onnxruntime.InferenceSession(small, options, providers=["CPUExecutionProvider"])
            maps = torch.cat([torch.from_numpy(session.run(None, {"frames": p.numpy()})[0]) for p in torch.split(x, 4)])
            cosine = torch.nn.functional.cosine_similarity(lite.encode_from(maps, cut), wanted).mean()
            batch = {"frames": x[:16].numpy()}
            seconds = min(taken(lambda s=session, b=batch: s.run(None, b)) for _ in range(5)) / 16  # type: ignore[misc]
            found[scheme] = {"cosine": float(cosine), "seconds": seconds}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=20, help="of the film")
    parser.add_argument("--no-int8", action="store_true", help="leave out lite in 8 bits")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    found: dict[str, Any] = {"threads": asked.threads, "a frame": encoding(asked.repeats)}
    lines = [f"a frame to the last block, {asked.threads} thread(s)"]
    lines += [
        f"  {name:30} {1e3 * one['seconds']:7.1f} ms  {one['times ViT-B/16, torch']:5.1f}x  differs by "
        f"{one['relative difference']:.1e}"
        for name, one in found["a frame"].items()
    ]
    tell(lines, asked.json)
    with tempfile.TemporaryDirectory() as folder:
        path = film(Path(folder) / "film.mp4", asked.seconds)
        found["watch"] = {encoder: watching(path, encoder) for encoder in ("torch", "onnx")}
    lines = ["watch, lite, every frame"]
    lines += [
        f"  {name:30} {one['frames a second']:7.1f} frames a second, {one['share of a core at 25']:.0%} of a core at "
        f"{RATE} frames a second"
        for name, one in found["watch"].items()
    ]
    tell(lines, asked.json)
    if not asked.no_int8:
        found["lite in 8 bits"] = eight_bits()
        lines = ["lite in 8 bits"]
        lines += [
            f"  {name:30} {1e3 * one['seconds']:7.1f} ms  cosine {one['cosine']:.4f}"
            for name, one in found["lite in 8 bits"].items()
        ]
        tell(lines, asked.json)
    if asked.json:
        print(json.dumps(found))


def tell(lines: list[str], as_json: bool) -> None:
    """A part of the table, as soon as it is known."""
    if not as_json:
        print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
