"""Words without a text tower: a class name as a mixture of the classes that a network's own classifier knows.

An ImageNet network was trained with 1,000 words. Weights of its classifier are directions in the space of its
embeddings, so a class it never saw gets a direction too: the mean of the known ones, each counting as much as its word
is like the new word (Changpinyo et al., Synthesized Classifiers, CVPR 2016, arXiv 1603.00550; ConSE, Norouzi et al.,
ICLR 2014, arXiv 1312.5650, mixes words instead of classifiers). With unit word vectors t_k of the known classes and a
of the name, all less the mean of the known ones, weights w_k (P), and r the embedding of pictures in general:

    s = softmax(a . t_k / 0.15) - 1 / K        c = sum_k s_k w_k        text vector = unit(c - (c . r) r)

So a text vector lies among the embeddings of frames, as a CLIP's does. Taking r out makes a picture of nothing in
particular equally near to every class; r is a constant of the network (see `usual`), no clip is looked at. A static
table (`WordTable`) says how alike words are: `scripts/word_table.py` makes it, and its card lies beside it.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kshot.backbones import texts
from kshot.backbones.texts import Prompts, Wording
from kshot.errors import CheckpointError, DataError

FOLDER = Path(__file__).parents[1] / "weights" / "words"
SHA256 = {
    "table.safetensors": "20ac7d4610bce0c03ed48a196b75c6e3174ed716ab745a86e38e96bf51a2a570",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "imagenet.txt": "4eb3da435cf544e4a6f390f62c84cb9c9bb68cf8b14e97f8a063452382e5efd2",
}
SOFTNESS = 0.15  # of the softmax over known classes: chosen on base classes by scripts/text_weight.py
UNKNOWN = "[UNK]"
SHOWN = 3  # names in a note


@dataclass(frozen=True)
class WordTable:
    """Static vectors of word pieces; a text is the mean of its pieces.

    Attributes:
        values: (V, 128) int8.
        scales: (V,) factor on each row.
        tokenizer: of the tokenizers library: lower case, accents off, WordPiece.
    """

    values: Tensor
    scales: Tensor
    tokenizer: Any

    def pieces(self, text: str) -> list[list[tuple[int, str]]]:
        """Number and letters of each piece, word by word; what the vocabulary cannot spell is left out."""
        encoding = self.tokenizer.encode(text)
        words: dict[int, list[tuple[int, str]]] = {}
        for word, number, piece in zip(encoding.word_ids, encoding.ids, encoding.tokens, strict=True):
            if piece != UNKNOWN:
                words.setdefault(word, []).append((number, piece))
        return list(words.values())

    def vectors(self, rows: Iterable[Sequence[int]]) -> Tensor:
        """Unit vectors (n, 128) of texts given as numbers of pieces."""
        means = [(self.values[list(row)].float() * self.scales[list(row), None]).mean(0) for row in rows]
        return F.normalize(torch.stack(means), dim=-1)


@functools.cache
def known() -> tuple[WordTable, Tensor]:
    """The table, and the unit vectors (1000, 128) of ImageNet's class names, read once.

    Raises:
        CheckpointError: a file of kshot's own that is not as it came.
    """
    from safetensors.torch import load
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    files = {name: _checked(name) for name in SHA256}
    tensors = load(files["table.safetensors"])
    vocabulary = {piece: number for number, piece in enumerate(files["vocab.txt"].decode().split("\n")[:-1])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    table = WordTable(tensors["values"], tensors["scales"], tokenizer)
    return table, table.vectors(_numbers(table, name) for name in files["imagenet.txt"].decode().splitlines())


def _checked(name: str) -> bytes:
    path = FOLDER / name
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise CheckpointError(f"{path} is damaged or missing: install kshot again")
    return data


def _numbers(table: WordTable, text: str) -> list[int]:
    return [number for word in table.pieces(text) for number, _ in word]


def usual(shift: Tensor, scale: Tensor, most: float = 6.0) -> Tensor:
    """The mean embedding (P,) of the pictures that a network was trained on, from its last batch norm alone.

    What leaves the norm has mean `shift` and deviation `scale` a channel over those pictures; taken as normal, the mean
    of min(max(x, 0), `most`) follows: E max(x, 0) - E max(x - most, 0).

    Args:
        shift: (P,) the norm's bias.
        scale: (P,) its weight.
        most: where the activation after it ends.
    """
    mean, deviation = shift.double(), scale.double().abs().clamp(min=1e-6)

    def above(x: Tensor) -> Tensor:
        """E max(y, 0) of a normal y with mean x."""
        z = x / deviation
        part: Tensor = x * torch.special.ndtr(z) + deviation * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
        return part

    found: Tensor = above(mean) - above(mean - most)
    return found.to(shift.dtype)


class ClassifierWords(nn.Module):
    """The text side of a network with a classifier of ImageNet: class names as vectors among its embeddings.

    It has no weights that could learn.

    Attributes:
        classifier: (1000, P) weights.
        reference: (P,) unit vector, the embedding of pictures in general.
        depth: no blocks.
        width: no channels.
        tokens: no tokens.
        precision: as set, and without effect.
    """

    classifier: Tensor
    reference: Tensor
    depth = width = tokens = 0
    precision = torch.float32

    def __init__(self, classifier: Tensor, reference: Tensor):
        super().__init__()
        self.register_buffer("classifier", classifier, persistent=False)
        self.register_buffer("reference", F.normalize(reference, dim=0), persistent=False)

    def embed(self, names: Sequence[str], prompts: Prompts) -> Tensor:
        """Unit vectors (C, P) of class names, each the normalised mean of its vectors under all prompts.

        Args:
            names: C class names; underscores are read as spaces.
            prompts: as `Backbone.embed_text` takes them. The default one is for towers that read sentences: here it
                stands for the name alone.

        Raises:
            OptionError: no names, or an impossible prompt.
            DataError: two names that are the same words to the table, or one of which nothing is left.
        """
        (table, classes), wording = known(), Wording.of(prompts)
        made = self._read(table, names, wording)
        found = table.vectors(_numbers(table, text.words) for text in made)
        middle = classes.mean(0)
        alike = F.normalize(found - middle, dim=-1) @ F.normalize(classes - middle, dim=-1).T
        shares = (alike / SOFTNESS).softmax(-1) - 1 / len(classes)
        mixed = shares.to(self.classifier) @ self.classifier
        mixed = mixed - (mixed @ self.reference)[:, None] * self.reference
        unit = F.normalize(mixed, dim=-1).view(-1, len(wording.templates(whole=True)), mixed.shape[1])
        return wording.joined(unit.mean(1), names)

    def notes(self, names: Sequence[str], prompts: Prompts) -> list[str]:
        """What the table does not know of class names and how it reads them instead, in words; [] if it knows all.

        Raises:
            KshotError: as `embed`.
        """
        (table, _), wording = known(), Wording.of(prompts)
        self._read(table, names, wording)
        plain = wording.descriptions is None
        said = [text for name in names for text in ((name,) if plain else wording.said(name))]
        odd = [told for text in said if (told := _in_pieces(table, text))]
        if not odd:
            return []
        more = f", and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        what = "class names have words" if plain else "class texts have words"
        return [f"{len(odd)} of {len(said)} {what} that the word table does not know: {'; '.join(odd[:SHOWN])}{more}"]

    def _read(self, table: WordTable, names: Sequence[str], wording: Wording) -> list[texts.ClassText]:
        """Every text of every class in every template, of which the table knows something and which differ."""
        templates = wording.templates(whole=True)
        made = texts.written(names, templates, wording)
        for text in made:
            if not _numbers(table, text.said):
                what = text.title() if text.described else f"the class name '{text.name}'"
                how = "write it in other words" if text.described else "rename the class"
                raise DataError(f"the word table knows nothing of {what}: {how}")
        rows = [sorted(_numbers(table, text.words)) for text in made]
        texts.expect_apart(made, rows, [True] * len(made), wording.phases)
        return made


def _in_pieces(table: WordTable, name: str) -> str:
    """How a name is read that has words of several pieces or of none; "" where each is one piece."""
    said = name.replace("_", " ")
    words, whole = table.pieces(said), table.tokenizer.encode(said)
    if len(words) == len(set(whole.word_ids)) == len(whole.ids):
        return ""
    return f"'{texts.short(name)}' is read as {' + '.join(piece for word in words for _, piece in word)}"
