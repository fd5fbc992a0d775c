"""Protocols: named settings of training and evaluation, each value with the place it was read in.

A protocol says how clips are seen and how episodes, steps and validations are counted. It says nothing of the method:
strategy, tuning, head and backbone stay the caller's. What is given explicitly beats the protocol, and both are
recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kshot.errors import unknown

if TYPE_CHECKING:
    from kshot.fewshot.result import Followed

OURS = "our choice"
SETS = ("hmdb51", "ucf101", "kinetics100", "ssv2-full", "ssv2-small")
SIGHT = ("frames", "resize")
"""Settings of a trained run that its evaluation keeps: how it sees clips."""


@dataclass(frozen=True)
class Setting:
    """A value of a protocol.

    Attributes:
        value: the value.
        source: where it was read, or "our choice".
        by_data: data set -> its own value.
    """

    value: Any
    source: str = OURS
    by_data: Mapping[str, Any] = field(default_factory=dict)

    def on(self, data: str) -> Any:
        """The value for a data set of this name: "kinetics100" includes "kinetics100-clipfsar:published"."""
        bare = re.split("[:?]", data)[0]
        mine = [value for name, value in self.by_data.items() if bare == name or bare.startswith(f"{name}-")]
        return mine[0] if mine else self.value


@dataclass(frozen=True)
class Protocol:
    """A named set of settings.

    Attributes:
        title: whose it is.
        about: what it is for, or what of its source could be read.
        training: settings of `kshot.train`.
        testing: settings of `kshot.evaluate`.
        differs: what kshot does otherwise than the source, whatever is set.
        own_shot: whether a method trains, and is chosen on val, at each shot that it is tested at; else at one shot.
    """

    title: str
    about: str
    training: Mapping[str, Setting]
    testing: Mapping[str, Setting]
    differs: tuple[str, ...] = ()
    own_shot: bool = False


def preset(protocol: str, part: str, data: str = "") -> dict[str, Any]:
    """Argument -> value of a protocol's "training" or "testing", for a data set of this name.

    "clip-fsar:hmdb51" takes the values for HMDB51, whatever the data's own name.

    Raises:
        OptionError: no such protocol or data set.
    """
    name, _, asked = protocol.partition(":")
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    if asked and asked not in SETS:
        raise unknown("data set of a protocol", asked, SETS)
    settings: Mapping[str, Setting] = getattr(PROTOCOLS[name], part)
    return {name: setting.on(asked or data) for name, setting in settings.items()}


def trains_at_each_shot(protocol: str | None) -> bool:
    """Whether a protocol trains and chooses at each shot that it tests at; no protocol does not.

    Raises:
        OptionError: no such protocol.
    """
    if not protocol:
        return False
    preset(protocol, "training")
    return PROTOCOLS[protocol.partition(":")[0]].own_shot


def followed(protocol: str, preset: Mapping[str, Any], final: Mapping[str, Any]) -> Followed:
    """What a run or result keeps of the protocol that it followed: its name, and what was otherwise.

    Args:
        protocol: its name, as it was asked for.
        preset: its values.
        final: those that were used.
    """
    from kshot.fewshot.result import Followed

    plain = {name: list(v) if isinstance(v, tuple) else v for name, v in final.items() if name in preset}
    return Followed(name=protocol, changed={name: value for name, value in plain.items() if value != preset[name]})


_CODE = "CLIP-FSAR's code"
_CONFIG = "CLIP-FSAR's configs"
_TRX = "TRX's run.py"
_CAO = "their code"
_TASKS = "Task-Adapter++'s config.yaml"
_DEFAULT = "our choice: kshot's default"
_LIKE = "; other data like HMDB51: our choice"

_TEST = {
    "way": Setting(5, "our choice: as the field"),
    "query": Setting(5, "our choice: five times the answers for the same support"),
    "episodes": Setting(10_000, "our choice: as the field"),
    "shared_group": Setting(False, "our choice: else a sofa is recognised, not an action"),
}
_CLIP_FSAR_SIGHT = {
    "frames": Setting(8, f"{_CONFIG}, NUM_INPUT_FRAMES"),
    "resize": Setting("squash-256", f"{_CODE}, KineticsResizedCropFewshot: both sides to 256, crop 224"),
    "prompts": Setting(["a photo of {}"], f"{_CODE}, models/base/few_shot.py"),
}
_CAO_SIGHT = {
    "frames": Setting(8, f"{_CAO}, utils.py: num_segments"),
    "resize": Setting("squash-257", f"{_CAO}, dataset.py: both sides to int(1.15 x 224), bilinear, crop 224"),
    "prompts": Setting(
        ["a photo of action about {spelled}"], f"{_CAO}, utils.py: one template, names as the data spells them"
    ),
}
_TRX_SIGHT = {
    "frames": Setting(8, f"{_TRX}, seq_len"),
    "resize": Setting("short-256", "TRX's video_reader.py: Resize(256), crop 224"),
}
_LORA = "CLIP-LoRA's code"
_STILLS = "our choice: theirs are still images"
_LORA_SIGHT = {
    "frames": Setting(8, _STILLS),
    "resize": Setting("short", f"{_LORA}: CLIP's own preprocessing"),
    "prompts": Setting(["a photo of a {}."], f"{_LORA}, datasets/ucf101.py"),
}
_TEXTS = {"prompts": Setting(["a video of a person doing {}"], _DEFAULT)}

PROTOCOLS: dict[str, Protocol] = {
    "kshot": Protocol(
        title="the recommended one",
        about="Weights are chosen on val classes, test frames are deterministic, and no query shares its source (one "
        "video, one person, one scene) with a support clip of its class.",
        training={
            "way": Setting(5, "our choice: as the field"),
            "query": Setting(5, "our choice: as the field trains"),
            "steps": Setting(400, "our choice: the best step is chosen on val in any case"),
            "lr": Setting(1e-4, "our choice; search it on val for a method of your own"),
            "optimizer": Setting("adam", _DEFAULT),
            "schedule": Setting("cosine", _DEFAULT),
            "accumulate": Setting(1, _DEFAULT),
            "select": Setting("val", "our choice: test classes stay unseen"),
            "shared_group": Setting(False, "our choice: val episodes as those of the test"),
            "val_every": Setting(50, _DEFAULT),
            "val_episodes": Setting(500, _DEFAULT),
            "frames": Setting(8, "our choice: as the field"),
            "resize": Setting("short", "our choice: what CLIP was trained with"),
            "views": Setting(1, "our choice: each further view takes as much room again"),
            **_TEXTS,
        },
        testing={
            **_TEST,
            "center": Setting(False, "our choice: the mean of the test clips is not known beforehand"),
            "frames": Setting(8, "our choice: as the field"),
            "resize": Setting("short", "our choice: what CLIP was trained with"),
            **_TEXTS,
        },
    ),
    "paper": Protocol(
        title="Cao et al. (2024), before their group's code was read",
        about="Cao et al., *Exploring the Adaptation Strategy of CLIP for Few-Shot Action Recognition*, 2024, "
        "doi:10.1145/3688863.3689571. Only its abstract could be read, which names the strategies, the tuning of the "
        "last layer alone, and HMDB51, UCF101 and Kinetics, but no setting. This preset is of a time when a list of "
        "settings of the same group's later code was known alone (github.com/Jaulin-Bage/Task-Adapter-pp, config.yaml "
        "at a20729e), and is kept so that its figures can be made again. `cao2024` follows their code of 2024.",
        training={
            "way": Setting(5, f"as listed in {_TASKS}"),
            "query": Setting(1, f"as listed in {_TASKS}"),
            "steps": Setting(2_000, f"as listed in {_TASKS}: 10 epochs of 200 episodes"),
            "accumulate": Setting(1, f"as {_CAO}: a step an episode"),
            "lr": Setting(1e-4, f"{_DEFAULT}; {_CAO}: 1e-3"),
            "optimizer": Setting("adam", f"{_DEFAULT}; {_CAO}: SGD"),
            "schedule": Setting("cosine", f"{_DEFAULT}; {_CAO}: constant"),
            "select": Setting("val", f"as {_CAO}"),
            "shared_group": Setting(True, f"as {_CAO}, which does not look at sources"),
            "val_every": Setting(100, f"{OURS}; {_CAO}: after each epoch of 200"),
            "val_episodes": Setting(1_000, f"as listed in {_TASKS}"),
            "frames": Setting(8, f"as listed in {_TASKS}"),
            "resize": Setting("short", f"{_DEFAULT}; {_CAO}: both sides"),
            "views": Setting(1, f"{OURS}; {_CAO} draws at each visit"),
            "prompts": Setting(["a video of a person doing {}"], f"{_DEFAULT}; {_CAO}: another"),
        },
        testing={
            "way": Setting(5, f"as listed in {_TASKS}"),
            "query": Setting(1, f"as listed in {_TASKS}"),
            "episodes": Setting(10_000, f"as listed in {_TASKS}"),
            "shared_group": Setting(True, f"as {_CAO}, which does not look at sources"),
            "center": Setting(False, f"as {_CAO}, which has none"),
            "frames": Setting(8, f"as listed in {_TASKS}"),
            "resize": Setting("short", f"{_DEFAULT}; {_CAO}: both sides"),
            "prompts": Setting(["a video of a person doing {}"], f"{_DEFAULT}; {_CAO}: another"),
        },
        differs=("Frames at test are the middle ones of equal segments.",),
    ),
    "cao2024": Protocol(
        title="Cao et al. (2024), as their group's code ran it",
        about="The settings of the paper itself cannot be read; those of its first two authors' code of the same year "
        "can: github.com/bedman367/Task-Adapter at 178b21a7 (run.py, dataset.py, models.py, utils.py). Its network is "
        "marked as partial fine-tuning. The method goes with it: `--head product` (or `product-trx`), `--tuning "
        "partial`, a backbone RN50 (open_clip layout) or ViT-B/16, and as many shots in training (`--shot`) as in the "
        "test. Its class names are spelled as in the data: `hmdb51:spelled`, `ucf101:spelled`. Their seed is 916.",
        training={
            "way": Setting(5, f"{_CAO}, utils.py: train_n_way"),
            "query": Setting(1, f"{_CAO}, utils.py: n_query"),
            "steps": Setting(
                2_000,
                f"{_CAO}, utils.py: 10 epochs of 1,000 episodes, marked 'if SSv2'; 200 elsewhere is as listed in "
                f"{_TASKS}",
                {"ssv2-full": 10_000, "ssv2-small": 10_000},
            ),
            "accumulate": Setting(1, f"{_CAO}, run.py: a step an episode"),
            "lr": Setting(1e-3, f"{_CAO}, utils.py: lr"),
            "optimizer": Setting("sgd", f"{_CAO}, run.py"),
            "momentum": Setting(0.0, f"{_CAO}, run.py: sets none"),
            "weight_decay": Setting(0.0, f"{_CAO}, run.py: sets none"),
            "schedule": Setting("constant", f"{_CAO}, run.py: has no schedule"),
            "select": Setting("val", f"{_CAO}, run.py: the best epoch on val is tested"),
            "shared_group": Setting(True, f"{_CAO}, dataset.py: does not look at sources"),
            "val_every": Setting(200, f"{_CAO}, run.py: after each epoch", {"ssv2-full": 1_000, "ssv2-small": 1_000}),
            "val_episodes": Setting(1_000, f"{_CAO}, utils.py: eval_episode"),
            "views": Setting(
                4, "our choice: on HMDB51 a base clip is visited 5 times by 1-shot training and 14 times by 5-shot"
            ),
            "augment": Setting(
                "time,crop",
                f"{_CAO}, dataset.py: a random frame of each segment, a random square; that the clip shares one is our "
                f"choice, theirs is `time,crops`",
            ),
            **_CAO_SIGHT,
        },
        testing={
            "way": Setting(5, f"{_CAO}, utils.py: test_n_way"),
            "query": Setting(1, f"{_CAO}, utils.py: n_query"),
            "episodes": Setting(10_000, f"{_CAO}, utils.py: test_episode"),
            "shared_group": Setting(True, f"{_CAO}, dataset.py: does not look at sources"),
            "center": Setting(False, f"{_CAO}, models.py: has none"),
            **_CAO_SIGHT,
        },
        differs=(
            "Batch norms of RN50 keep their statistics; in their code they go on learning, so that what enters the "
            "attention pool drifts and could not be stored. `--exact` trains from frames with batch norms as theirs.",
            "Random squares and frames come from stored views of a clip, of which view 0 is the one that tests see; "
            "theirs are drawn at each visit.",
            "The untrained weights are among those that val chooses from; theirs begins with the first epoch.",
            "Segments have equal lengths; theirs are whole frames long, and what is left at a clip's end is never "
            "drawn.",
            "Intervals take the sample's standard deviation and Student's t; theirs 1.96 and the population's.",
        ),
        own_shot=True,
    ),
    "clip-fsar": Protocol(
        title="CLIP-FSAR's published code",
        about="Wang et al., *CLIP-guided Prototype Modulating for Few-shot Action Recognition*, IJCV 2024, arXiv "
        "2303.02982. Read in github.com/alibaba-mmai-research/CLIP-FSAR at 460aee4; its configs are the files "
        "*_1shot_v1.yaml in configs/projects/CLIPFSAR, for a ResNet-50. Tasks are episodes; a step takes 4.",
        training={
            "way": Setting(5, f"{_CONFIG}, WAY"),
            "query": Setting(5, f"{_CONFIG}, QUERY_PER_CLASS"),
            "accumulate": Setting(4, f"{_CONFIG}, BATCH_SIZE_PER_TASK"),
            "steps": Setting(
                1_250,
                f"{_CONFIG}, NUM_TRAIN_TASKS: 5,000, 3,000 and 30,000 tasks{_LIKE}",
                {"ucf101": 750, "ssv2-full": 7_500, "ssv2-small": 7_500},
            ),
            "lr": Setting(1e-5, f"{_CONFIG}, BASE_LR{_LIKE}", {"ucf101": 2e-6, "ssv2-full": 5e-5, "ssv2-small": 5e-5}),
            "optimizer": Setting("adam", f"{_CONFIG}, OPTIM_METHOD"),
            "weight_decay": Setting(5e-5, f"{_CONFIG}, WEIGHT_DECAY{_LIKE}", {"kinetics100": 5e-4}),
            "warmup": Setting(
                175,
                f"{_CONFIG}, STEPS_ITER x WARMUP_EPOCHS: 700, 600, 250, 4,000 and 2,000 tasks{_LIKE}",
                {"ucf101": 150, "kinetics100": 62, "ssv2-full": 1_000, "ssv2-small": 500},
            ),
            "schedule": Setting("cosine", "our choice, for their two drops to a tenth"),
            "select": Setting("val", "our choice: their validation list is the test list"),
            "shared_group": Setting(True, f"{_CODE} does not look at sources"),
            "val_every": Setting(
                75,
                f"{_CONFIG}, VAL_FRE_ITER: 300, 100 and 1,000 tasks{_LIKE}",
                {"ucf101": 25, "kinetics100": 25, "ssv2-full": 250, "ssv2-small": 250},
            ),
            "val_episodes": Setting(500, _DEFAULT),
            "views": Setting(4, "our choice, for a fresh draw at each visit"),
            "augment": Setting(
                "time,crop",
                f"{_CODE}: random frames of segments, random crop; on Kinetics queries are flipped too",
                {"kinetics100": "time,crop,flip"},
            ),
            **_CLIP_FSAR_SIGHT,
        },
        testing={
            "way": Setting(5, f"{_CONFIG}, WAY"),
            "query": Setting(1, f"{_CONFIG}, QUERY_PER_CLASS_TEST"),
            "episodes": Setting(10_000, f"{_CONFIG}, NUM_TEST_TASKS"),
            "shared_group": Setting(True, f"{_CODE} does not look at sources"),
            "center": Setting(False, f"{_CODE} has none"),
            **_CLIP_FSAR_SIGHT,
        },
        differs=(
            "Frames at test are the middle ones of equal segments; theirs are drawn within segments at test too (on "
            "Kinetics they lie evenly from a drawn start).",
            "Frames are resized by PIL's bicubic filter; theirs bilinearly, without antialiasing.",
            "On Kinetics, support clips are flipped like queries; theirs flips queries alone and erases parts of them.",
            "A clip that cannot be read is left out and named; theirs is replaced by another.",
        ),
    ),
    "trx": Protocol(
        title="TRX's published code",
        about="Perrett et al., *Temporal-Relational CrossTransformers for Few-Shot Action Recognition*, CVPR 2021. "
        "Read in github.com/tobyperrett/trx at 8e717b4 (run.py, video_reader.py) and 390c20a (README). Tasks are "
        "episodes; a step takes 16. TRX has no text.",
        training={
            "way": Setting(5, f"{_TRX}, way"),
            "query": Setting(5, f"{_TRX}, query_per_class"),
            "accumulate": Setting(16, f"{_TRX}, tasks_per_batch"),
            "steps": Setting(
                625,
                "75,000 tasks on SSv2: README; 10,000 elsewhere: as listed in issue 4 of "
                "tobyperrett/few-shot-action-recognition (UCF101); the rest our choice",
                {"ssv2-full": 4_688, "ssv2-small": 4_688},
            ),
            "lr": Setting(1e-3, f"{_TRX}, learning_rate"),
            "optimizer": Setting("sgd", f"{_TRX}, opt"),
            "momentum": Setting(0.0, f"{_TRX} sets none"),
            "schedule": Setting("constant", f"{_TRX}, sch: its drop comes after a million tasks"),
            "weight_decay": Setting(0.0, f"{_TRX} sets none"),
            "select": Setting("val", "our choice: theirs tests at a fixed task"),
            "shared_group": Setting(True, "TRX's video_reader.py does not look at sources"),
            "val_every": Setting(50, _DEFAULT),
            "val_episodes": Setting(500, _DEFAULT),
            "views": Setting(4, "our choice, for a fresh draw at each visit"),
            "augment": Setting("time,crop,flip", "TRX's video_reader.py"),
            **_TRX_SIGHT,
            **_TEXTS,
        },
        testing={
            "way": Setting(5, f"{_TRX}, way"),
            "query": Setting(1, f"{_TRX}, query_per_class_test"),
            "episodes": Setting(10_000, f"{_TRX}, num_test_tasks"),
            "shared_group": Setting(True, "TRX's video_reader.py does not look at sources"),
            "center": Setting(False, f"{_TRX} has none"),
            **_TRX_SIGHT,
            **_TEXTS,
        },
        differs=(
            "Frames at test are the middle ones of equal segments; theirs lie evenly from the second frame to the last "
            "but one. In training ours are drawn within segments; theirs lie evenly between a drawn start and end.",
            "Classes with left, right or clockwise in their name are not flipped; theirs are.",
        ),
    ),
    "clip-lora": Protocol(
        title="CLIP-LoRA's published code",
        about="Zanella and Ben Ayed, *Low-Rank Few-Shot Adaptation of Vision-Language Models*, CVPR workshops 2024, "
        "arXiv 2405.18541. Read in github.com/MaxZanella/CLIP-LoRA at 358f0d7 (run_utils.py, lora.py, loralib/): one "
        "set of values for every data set and number of shots. The method goes with it: `--tuning lora --tuning-option "
        "rank=2 alpha=1 scaling=root dropout=0.25 targets=q_proj,k_proj,v_proj tower=both --strategy finetune "
        "--strategy-option classifier=text scale=100 batch=32 --head text`.",
        training={
            "way": Setting(5, "our choice, of val episodes: as the field"),
            "query": Setting(5, "our choice, of val episodes: as the field trains"),
            "steps": Setting(500, f"{_LORA}, n_iters: times the shots, so give 2,500 for five"),
            "accumulate": Setting(1, f"{_LORA}: a step a batch"),
            "lr": Setting(2e-4, f"{_LORA}, lr"),
            "optimizer": Setting("adamw", f"{_LORA}, with betas 0.9 and 0.999, as PyTorch's"),
            "weight_decay": Setting(1e-2, f"{_LORA}, lora.py"),
            "schedule": Setting("cosine", f"{_LORA}, which ends at 1e-6; ours at 0"),
            "select": Setting("val", "our choice: theirs tests the last step"),
            "shared_group": Setting(False, "our choice: val episodes as those of the test"),
            "views": Setting(4, "our choice, for a fresh draw at each visit"),
            "augment": Setting("time,crop,flip", f"{_LORA}, main.py: a random part of the picture, flipped or not"),
            **_LORA_SIGHT,
        },
        testing={
            **_TEST,
            "center": Setting(False, f"{_LORA} has none"),
            **_LORA_SIGHT,
        },
        differs=(
            "Their weights learn from the shots of the very classes they are tested on, all classes of a data set; "
            "here, as in every protocol, from base classes, and the test is episodes of others.",
            "Their random square has any size from 8 to 100 % of the picture; ours is as large as CLIP's input.",
            "Clips of eight frames, their embeddings averaged, in place of still images.",
            "Single precision; theirs is half where CUDA's autocast says so.",
        ),
    ),
}
