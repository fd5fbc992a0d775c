"""Writes docs/parity.md: which published variant every head and tuning method is, and how close it is.

A test checks the page. Every row is compared with a small second implementation, written from the paper's formula or
the published code, on the same drawn episodes and the same weights: those of `parity_heads.py` and `parity_tuning.py`.
Nothing is fetched.

    python scripts/parity.py                      writes the page
    python scripts/parity.py --heads clap lp++    prints the rows of these heads alone, on --episodes episodes
    python scripts/parity.py --features FILE.npz  prints what the choice of variant does on ready-made features
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import parity_baselines as baselines2
import parity_heads as heads2
import parity_tuning as tuning2
import torch
from torch import Tensor

from kshot import tuning
from kshot.backbones.backbone import Backbone, load
from kshot.fewshot.evaluation import evaluate
from kshot.heads import HEADS, get_head, options

PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
WAY, EPISODES, PASSES, ROUNDING = 5, 4, 2, 1e-5
SHOTS, QUERIES, FRAMES, CHANNELS = (1, 5), 5, 8, 64  # of drawn episodes of embeddings; queries a class
CLIP = 4  # frames a clip, where images go through a tower
PERRETT, WANG = "tobyperrett/few-shot-action-recognition at 3687f3a", "alibaba-mmai-research/CLIP-FSAR at 30cf0a8"


@dataclass(frozen=True)
class Variant:
    """A row of the page.

    Attributes:
        name: of the head or method.
        says: which published variant it is.
        source: repository and commit, or paper.
        reference: the second implementation; None where there is nothing published.
        options: of the head or method.
        learns: which weights must learn, for methods that only choose among those that there are.
    """

    name: str
    says: str
    source: str
    reference: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    learns: tuple[str, ...] = ()


OURS, CLAP = "kshot's own", "jusiro/CLAP at dbdf409"
HEAD_VARIANTS = (
    Variant("nearest", "the cosine with the closest clip", "Cover and Hart, 1967", heads2.nearest),
    Variant("prototype", "class means, by cosine", "Snell et al., NeurIPS 2017", heads2.prototype),
    Variant("change", "after TDN's differences of frames, pooled", OURS, heads2.change),
    Variant("both", "prototype and change added", OURS, heads2.both),
    Variant("where", "prototype, of embeddings pooled by change", OURS, heads2.prototype),
    Variant("otam", "the first public code: distances averaged, 0.1", PERRETT, heads2.otam),
    Variant("otam", "CLIP-FSAR's: frames averaged, 0.5", WANG, heads2.otam_of_clip_fsar, {"variant": "clip-fsar"}),
    Variant("otam", "the first public code as it is, its cosine with 0.01 below", PERRETT, heads2.otam_as_it_is),
    Variant("bimhm", "HyRSM's, as in CLIP-FSAR's repository", WANG, heads2.bimhm),
    Variant("trx", "pairs and triples, 1,152 channels", PERRETT, heads2.trx),
    Variant("clip-fsar", "the five 5-shot configurations", WANG, heads2.clip_fsar),
    Variant("linear-probe", "logistic regression, L2", "scikit-learn, as in CLIP, ICML 2021", heads2.linear_probe),
    Variant(
        "baseline++", "own first weights in each episode, learned norm",
        "wyharveychen/CloserLookFewShot at e03aca8", heads2.baseline_pp,
    ),
    Variant("meta-baseline", "cosine with a learned temperature", "Chen et al., ICCV 2021", heads2.meta_baseline),
    Variant("tip-adapter", "alpha 1, beta 5.5", "Zhang et al., ECCV 2022", heads2.tip_adapter),
    Variant("tip-adapter-f", "AdamW on the keys, all clips a step", "Zhang et al., ECCV 2022", heads2.tip_adapter_f),
    Variant("text", "zero-shot CLIP, factor 100", "Radford et al., ICML 2021", heads2.names),
    Variant("fusion", "product of probabilities; its weight is kshot's own", WANG, heads2.fusion, {"beta": 0.5}),
    Variant(
        "product", "cosine to the prototype times cosine to the name, factor 64",
        "Cao et al.'s group, 2024: bedman367/Task-Adapter at 178b21a7", heads2.product,
    ),
    Variant(
        "product-trx", "mean cosine of what tuples have and find times cosine to the name, factor 64",
        "Cao et al.'s group, 2024: bedman367/Task-Adapter at 178b21a7", heads2.product_trx,
    ),
    Variant("clap", "the constraint, its multipliers found once; no augmented copies", CLAP, baselines2.clap),
    Variant("clap", "ZS-LP", CLAP, baselines2.zs_lp, {"constraint": False}),
    Variant(
        "lp++", "the paper's formula with the code's step sizes; no bias, the last of 300 steps",
        "FereshteShakeri/FewShot-CLIP-Strong-Baseline at f81054f", baselines2.lp_pp,
    ),
    Variant("hoso", "after the paper's abstract, with class means", f"{OURS}; arXiv 2603.04341", baselines2.hoso),
    Variant(
        "transclip", "with support clips, gamma fixed, each row of the neighbours its own; transductive",
        "MaxZanella/transduction-for-vlms at 6a9e8f3", baselines2.transclip,
    ),
)  # fmt: skip

LAST = ("image.blocks.-1.", "image.norm.", "image.projection.")
TUNING_VARIANTS = (
    Variant("partial", "the last block, norm and projection", "Cao et al., 2024", tuning2.itself, learns=LAST),
    Variant("full", "all weights", "fine-tuning as it is", tuning2.itself, learns=("image.",)),
    Variant("lora", "rank 8, factor 2, queries and values", "Hu et al., ICLR 2022, by peft", tuning2.lora),
    Variant("adaptformer", "raw tokens", "ShoufaChen/AdaptFormer at 6967d67", tuning2.adaptformer),
    Variant(
        "adaptformer", "normed tokens", "the paper's formula", tuning2.adaptformer_of_the_paper, {"norm": True}
    ),
    Variant("bitfit", "biases", "Ben Zaken et al., ACL 2022", tuning2.itself, learns=(".bias",)),
    Variant("layernorm", "scales and shifts", "Basu et al., AAAI 2024", tuning2.itself, learns=("norm", "pre.")),
    Variant("clip-adapter", "ratio 0.2", "the paper's formula (Gao et al., IJCV 2024)", tuning2.clip_adapter),
    Variant("vpt", "VPT-Deep, 10 tokens", "Jia et al., ECCV 2022", tuning2.vpt),
    Variant("st-adapter", "before each MLP (adapter12x384)", "linziyi96/st-adapter at b914b38", tuning2.st_adapter),
    Variant(
        "st-adapter", "before both (adapter24x384)", "linziyi96/st-adapter at b914b38", tuning2.st_adapter,
        {"place": "both"},
    ),
    Variant("st-adapter", "before each attention", OURS, tuning2.st_adapter, {"place": "attention"}),
    Variant("aim", "frames numbered before the first norm", "taoyang1122/adapt-image-models at b3580d2", tuning2.aim),
    Variant("aim", "frames numbered before block 1", OURS, tuning2.aim_at_the_block, {"time": "block"}),
    Variant("coop", "a full stop behind the name", "KaiyangZhou/CoOp at ff61507", tuning2.coop),
    Variant("coop", "no full stop", "the paper's text", tuning2.coop_without_a_stop, {"stop": False}),
    Variant(
        "task-adapter", "its attention across clips, before the MLP; a query sees the support",
        f"{OURS} in whom a query sees", tuning2.task_adapter,
    ),
    Variant(
        "task-adapter", "the same; queries see queries alone", "Jaulin-Bage/Task-Adapter-pp at 3a29783",
        tuning2.task_adapter_of_the_code, {"transductive": "queries"},
    ),
    Variant(
        "task-adapter", "before the block", OURS, tuning2.task_adapter_before_the_block, {"place": "attention"}
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Closeness:
    """How close two implementations are.

    Attributes:
        alike: share of queries that both give the same class.
        points: difference of accuracies, in points.
        apart: largest difference of scores, over the largest score.
    """

    alike: float
    points: float
    apart: float

    @classmethod
    def of(cls, mine: Tensor, second: Tensor, truth: Tensor) -> Closeness:
        """From scores (n, way) of both and the true classes (n,)."""
        answers, others = mine.argmax(1), second.argmax(1)
        right = (answers == truth).double().mean() - (others == truth).double().mean()
        alike = float((answers == others).double().mean())
        return cls(alike, 100 * float(right), float((mine - second).abs().max() / second.abs().max()))

    def __str__(self) -> str:
        found = "equal to rounding" if self.apart < ROUNDING else "differs"
        return f"{100 * self.alike:.1f} % | {self.points:+.2f} | {found}"


def drawn(shot: int, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Query (Q, T, D), support (N, T, D), labels of both, text (way, D) of a drawn episode, in double precision."""
    draw = torch.Generator().manual_seed(100 * shot + number)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    course = normal(WAY, FRAMES, CHANNELS)
    labels, asked = torch.arange(WAY).repeat_interleave(shot), torch.arange(WAY).repeat_interleave(QUERIES)

    def clips(of: Tensor) -> Tensor:
        return 0.3 * course[of] + 0.9 * normal(len(of), 1, CHANNELS) + normal(len(of), FRAMES, CHANNELS)

    return clips(asked), clips(labels), asked, labels, course.mean(1) + 0.5 * normal(WAY, CHANNELS)


@torch.no_grad()
def of_head(variant: Variant, episodes: int = EPISODES) -> Closeness:
    """A head beside its second implementation, on as many episodes of 1 as of 5 shots."""
    known = options(variant.name)
    chosen = {**({"dim": CHANNELS} if "dim" in known else {}), **variant.options}
    torch.manual_seed(0)
    head = get_head(variant.name, **chosen).double().eval()
    for weight in head.parameters():
        weight.add_(0.05 * torch.randn_like(weight))
    head.trained = True
    mine, second, truth = list[Tensor](), list[Tensor](), list[Tensor]()
    for shot in SHOTS:
        for number in range(episodes):
            query, support, asked, labels, text = drawn(shot, number)
            mine += [head(query[None], support[None], labels[None], text[None], numbers=[number])[0]]
            second += [variant.reference(head, query, support, labels, text, number)]
            truth += [asked]
    return Closeness.of(torch.cat(mine), torch.cat(second), torch.cat(truth))


def pictures(backbone: Backbone, number: int) -> tuple[Tensor, Tensor]:
    """Frames (clips * frames, 3, S, S) of one support clip and three queries a class, and the queries' classes."""
    draw = torch.Generator().manual_seed(number)
    classes = torch.arange(WAY).repeat(4)
    kinds = torch.randn(WAY, CLIP, 3, 4, 4, generator=draw)
    size = backbone.image.size
    coarse = kinds[classes] + 0.8 * torch.randn(len(classes), CLIP, 3, 4, 4, generator=draw)
    return torch.nn.functional.interpolate(coarse.flatten(0, 1), size=(size, size)), classes[WAY:]


@torch.no_grad()
def of_method(variant: Variant, plain: Backbone) -> Closeness:
    """A tuned tower beside its second implementation: answers are those of the nearest of five support clips.

    Raises:
        AssertionError: other weights learn than the row says.
    """
    tuned = plain.copy()
    torch.manual_seed(0)
    more = {"frames": CLIP} if "frames" in tuning.options(variant.name) else {}
    tuning.apply(variant.name, tuned, **more, **variant.options)
    for name, weight in tuned.named_parameters():
        if variant.learns:
            first = name.replace(f"image.blocks.{plain.image.depth - 1}.", "image.blocks.-1.")
            said = name.startswith("image.") and any(part in first for part in variant.learns)
            assert weight.requires_grad == said, f"{variant.name}: {name}"
        if weight.requires_grad:
            weight.add_(0.05 * torch.randn_like(weight))
    if variant.name == "coop":
        words = ["clap", "wave", "jump", "open_arms", "sit down"]
        own, other = tuned.embed_text(words), variant.reference(plain, tuned, [w.replace("_", " ") for w in words])
        return Closeness.of(own @ own.T, other @ own.T, torch.arange(WAY))
    mine, second, truth = list[Tensor](), list[Tensor](), list[Tensor]()
    for number in range(PASSES):
        frames, asked = pictures(plain, number)
        ours = tuned.encode_from(frames, 0, frames=CLIP, support=WAY)
        theirs = variant.reference(plain, tuned, frames, CLIP, WAY)
        for found, into in ((ours, mine), (theirs, second)):
            clips = torch.nn.functional.normalize(found.unflatten(0, (-1, CLIP)).mean(1), dim=1)
            into.append(clips[WAY:] @ clips[:WAY].T)
        truth.append(asked)
    return Closeness.of(torch.cat(mine), torch.cat(second), torch.cat(truth))


def rows() -> Iterator[str]:
    """The lines of both tables."""
    title = "| variant | source | same answers | accuracy, points | scores |\n| --- | --- | --- | --- | --- | --- |"
    for kind, variants in (("head", HEAD_VARIANTS), ("tuning method", TUNING_VARIANTS)):
        yield f"\n## {kind.capitalize()}s\n\n| {kind} {title}"
        plain = load("kshot-tiny") if variants is TUNING_VARIANTS else None
        for one in variants:
            yield row(one, of_head(one) if plain is None else of_method(one, plain))


def row(one: Variant, found: Closeness) -> str:
    """The line of a variant."""
    said = "".join(f" `{name}={value}`" for name, value in one.options.items())
    return f"| `{one.name}`{said} | {one.says} | {one.source} | {found} |"


def page() -> str:
    """The whole page."""
    head = f"""# Whose variant each head and tuning method is

Papers and their codes often differ, and two codes of one method do. Here is which published variant kshot's default is,
what the options of other rows make of it, and how close it is to a second, small implementation that was written from
the formula or the published code (`parity_heads.py`, `parity_baselines.py`, `parity_tuning.py` of `scripts/`; none was
copied), on the same drawn episodes with the same weights: {len(SHOTS) * EPISODES} episodes of 5 classes for a head,
half of them with 1 and half with 5 shots, and {PASSES} episodes of frames through `kshot-tiny` for a tuning method, all
new weights random.
"Equal to rounding": no score differs by more than {ROUNDING:g} of the largest. `python scripts/parity.py` writes this
page.
"""
    return head + "\n".join(rows()) + "\n\n" + BELOW


BELOW = """## Where the default is not the published code's

- Cosines have no constant in the denominator. The codes of OTAM, TRX's baselines, CLIP-FSAR and `product-trx` add 0.01
  there, which counts for embeddings of small length alone.
- `task-adapter`: in the authors' code a query sees the other queries of its episode and no support clip. Its scores
  then depend on what else is classified with it, so that is an option here (`transductive=queries`), and such figures
  should be compared with transductive ones only.
- `clip-fsar`: the feed-forward part is four times as wide as the embedding; the authors' is 2,048, the same at 512.
- `baseline++`: what is random follows from the seed and the episode's number, not from a generator's state.
- `adaptformer`: dropout (0.1 in the code) is left out, as in every adapter.
- `clap`, `lp++`, `hoso` and `transclip` are what the table says;
  [heads.md](heads.md#where-we-differ-from-published-code) tells where they leave the authors' codes.
- Tip-Adapter searches its numbers on test data in its code; here they are fixed, or chosen on the support (`loo`).

A run, model or result that was written before these variants existed does not name them, and is read as what it was:
`otam` with `variant=clip-fsar`; `baseline++` with `norm=unit`, `fresh=False`; `clip-fsar` with `merge=False`,
`layer=pre-norm`; `st-adapter` and `task-adapter` with `place=attention`; `aim` with `time=block`; `adaptformer` with
`norm=True`; `coop` with `stop=False`.
"""

CHOICES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("otam", {}), ("otam", {"variant": "clip-fsar"}),
    ("baseline++", {}), ("baseline++", {"norm": "unit"}), ("baseline++", {"norm": "unit", "fresh": False}),
)  # fmt: skip


def on_features(path: str, episodes: int) -> Iterator[str]:
    """What the choice of variant does on ready-made features: accuracy in % with its interval."""
    yield "| head | 1-shot | 5-shot |\n| --- | --- | --- |"
    for name, chosen in CHOICES:
        found = [
            evaluate(path, split="all", shot=shot, episodes=episodes, head=name, head_options=chosen) for shot in SHOTS
        ]
        said = "".join(f" `{option}={value}`" for option, value in chosen.items())
        yield f"| `{name}`{said} | " + " | ".join(f"{one.accuracy:.1f} ± {one.ci95:.1f}" for one in found) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", help="ready-made features as `kshot evaluate` takes them")
    parser.add_argument("--heads", nargs="+", choices=HEADS, metavar="HEAD", help="only compare these")
    parser.add_argument("--episodes", type=int, default=1000)
    given = parser.parse_args()
    if given.heads is not None:
        for one in HEAD_VARIANTS:
            if one.name in given.heads:
                print(row(one, of_head(one, given.episodes // len(SHOTS))), flush=True)
        return
    if given.features is not None:
        for line in on_features(given.features, given.episodes):
            print(line, flush=True)
        return
    assert {one.name for one in HEAD_VARIANTS} == set(HEADS)
    PAGE.write_text(page(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
