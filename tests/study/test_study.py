"""Studies: read with good errors, run once, resumed, paired on the same episodes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import write_clips
from kshot import datasets, seals
from kshot.errors import DataError, KshotError, OptionError
from kshot.fewshot.intervals import interval
from kshot.fewshot.result import read_result
from kshot.study import file as study_file
from kshot.study import grid
from kshot.study import runner as study
from kshot.study.results import StudyResult
from kshot.study.summary import load_study
from kshot.study.tables import as_markdown
from tiny import random_clip

pytestmark = pytest.mark.slow

SMALL = """
title = "small"
data = "{data}"
backbone = "{backbone}"
shots = [1, 2]
seeds = [0, 1]
way = 2
query = 2
episodes = 40
frames = 3
baseline = "frozen"

[train]
steps = 3
val_every = 3
val_episodes = 5
way = 2
query = 1

[[row]]
name = "frozen"

[[row]]
name = "meta"
strategy = "meta"
tuning = "partial"
layers = ["proj", "block"]

[[row]]
name = "direct"
strategy = "direct"
episodes = 6

[[row]]
name = "broken"
strategy = "frozen"
head = "trx"
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    data = write_clips(folder / "clips")
    backbone = random_clip(folder / "clip")
    path = folder / "small.toml"
    path.write_text(SMALL.format(data=data, backbone=backbone))
    return path


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyResult]:
    folder = tmp_path_factory.mktemp("out") / "small"
    return folder, study.run(source, folder, store=source.parent / "store")


def test_lists_are_crossed_into_rows(source: Path):
    names = [row.name for row in study_file.read_study(source).rows]
    assert names == ["frozen", "meta, proj", "meta, block", "direct", "broken"]


def test_every_cell_ran_and_failures_are_recorded(done: tuple[Path, StudyResult]):
    _, report = done
    failed = [row for row in report.rows if row.error]
    assert {row.name for row in failed} == {"broken"}
    assert "was never trained" in failed[0].error
    assert len(report.rows) == 10
    for row in report.rows:
        if not row.error:
            assert set(row.results) == {"1", "2"}
            assert (row.trained_parameters > 0) == (row.strategy != "frozen")


def test_differences_are_paired_and_their_intervals_over_seeds(done: tuple[Path, StudyResult]):
    folder, report = done

    def episodes(name: str, seed: int) -> np.ndarray:
        row = next(r for r in report.rows if r.name == name and r.seed == seed)
        return np.array(json.loads((folder / row.folder / "1-shot.json").read_text())["episode_accuracy"])

    line = next(s for s in report.summary if s.name == "direct" and s.shot == 1)
    parts = [episodes("direct", seed) - episodes("frozen", seed)[:6] for seed in (0, 1)]
    joined = np.concatenate(parts)
    assert line.difference == pytest.approx(joined.mean())
    assert line.difference_ci95 == pytest.approx(interval(np.array([one.mean() for one in parts])))
    assert (line.difference_over, line.paired, line.kept) == ("seeds", 2, 0)
    assert line.agree == sum(np.sign(p.mean()) == np.sign(joined.mean()) for p in parts)
    assert line.episodes == 6


def test_finished_rows_are_not_run_again(source: Path, done: tuple[Path, StudyResult], tmp_path: Path):
    before, folder = done[1], tmp_path / "again"  # a copy: other tests read what was found first
    shutil.copytree(done[0], folder)
    stamps = {p: p.stat().st_mtime_ns for p in folder.rglob("*-shot.json")}
    gone = next(p for p in stamps if "meta-proj" in str(p)).parent
    (gone / "row.json").unlink()
    again = study.run(source, folder, store=source.parent / "store")
    changed = {p.parent for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp}
    assert changed == {gone}
    assert [line.accuracy for line in again.summary] == [line.accuracy for line in before.summary]


COLLIDING = """
title = "colliding"
data = "{data}"
backbone = "{backbone}"
shots = [1]
way = 2
query = 2
episodes = 20
frames = 3
baseline = "基线"
[[row]]
name = "基线"
[[row]]
name = "零样本"
strategy = "zero-shot"
[[row]]
name = "Tip (a=1)"
head = "nearest"
[[row]]
name = "tip a 1"
head = "otam"
"""


def test_rows_whose_names_share_their_letters_keep_results_of_their_own(source: Path, tmp_path: Path):
    path = tmp_path / "colliding.toml"
    path.write_text(COLLIDING.format(data=source.parent / "clips" / "clips.csv", backbone=source.parent / "clip"))
    names = ["基线", "零样本", "Tip (a=1)", "tip a 1"]
    report = study.run(path, tmp_path / "out", store=source.parent / "store")
    assert [(line.name, line.seeds, line.episodes) for line in report.summary] == [(n, 1, 20) for n in names]
    assert [row.head for row in report.rows] == ["prototype", "text", "nearest", "otam"]
    assert len({row.folder.casefold() for row in report.rows}) == 4
    for line, row in zip(report.summary, report.rows, strict=True):
        every = json.loads((tmp_path / "out" / row.folder / "1-shot.json").read_text())["episode_accuracy"]
        assert line.ci95 == pytest.approx(interval(np.array(every)))
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("row.json")}
    study.run(path, tmp_path / "out", store=source.parent / "store")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("row.json")} == stamps


def test_a_row_of_an_older_version_is_taken_only_by_the_row_that_it_is(source: Path, tmp_path: Path):
    path = tmp_path / "colliding.toml"
    path.write_text(COLLIDING.format(data=source.parent / "clips" / "clips.csv", backbone=source.parent / "clip"))
    out, store = tmp_path / "out", source.parent / "store"
    row = study.run(path, out, store=store).rows[2]
    parts = (row.data, row.backbone, "tip a 1", "seed0")  # what it was called before, with `tip a 1` inside
    old = out / "rows" / "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    (out / row.folder).rename(old)
    stamp = (old / "row.json").stat().st_mtime_ns
    again = study.run(path, out, store=store)
    assert again.rows[2].folder == str(old.relative_to(out)) and again.rows[2].head == "nearest"
    assert again.rows[3].head == "otam" and (old / "row.json").stat().st_mtime_ns == stamp


def test_what_would_count_twice_is_refused(source: Path, tmp_path: Path):
    plan = study_file.read_study(source)
    data = plan.data[0]
    loaded = datasets.load(data)
    for change, text in (
        ({"seeds": [0, 0]}, r"seeds must differ.*found \[0, 0\]"),
        ({"data": [data, data]}, "two of the data sets"),
        ({"data": [data, f"{Path(data).parent}/../clips/clips.csv"]}, "two of the data sets"),
        ({"data": [loaded, loaded.select("test")]}, "two of the data sets 'clips' and 'clips'"),
        ({"backbone": [plan.backbone[0], plan.backbone[0]]}, "two of the backbones"),
    ):
        with pytest.raises(OptionError, match=text):
            study.run(plan, tmp_path / "out", **change)
    for rows, text in (
        ([study_file.Row("a"), study_file.Row("a")], "two rows are called 'a'"),
        ([study_file.Row("Wave"), study_file.Row("wave")], "row names 'Wave' and 'wave' look alike"),
        ([study_file.Row("")], "row 1 has no name"),
        ([study_file.Row(" a")], "blanks around it"),
        ([study_file.Row("a\x1b[31m")], r"U\+001B"),
    ):
        with pytest.raises(OptionError, match=text):
            study.run(study_file.Study("s", tuple(rows)), tmp_path / "out")
    with pytest.raises(OptionError, match="unknown baseline 'b'"):
        study.run(study_file.Study("s", (study_file.Row("a"),), baseline="b"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tables(done: tuple[Path, StudyResult]):
    folder, report = done[0], load_study(done[0])
    assert (folder / "table.md").read_text() == as_markdown(report)
    assert "(first 6 episodes)" in as_markdown(report)
    assert (folder / "table.csv").read_text().count("\n") == len(report.summary) + 1
    assert [line.name for line in report.summary] == [line.name for line in done[1].summary]


def test_what_is_saved_is_read_back_whole(done: tuple[Path, StudyResult]):
    folder, report = done
    again = load_study(folder)
    assert again.settings == report.settings and again.summary == report.summary
    assert StudyResult.parse(json.loads(json.dumps(again.plain())), "study.json").plain() == again.plain()
    row = next(row for row in again.rows if not row.error)
    result = row.result(folder, 1)
    assert (
        result.accuracy == row.results["1"].accuracy
        and result.plain() == read_result(folder / row.folder / "1-shot.json").plain()
    )


def test_files_of_a_later_version_are_refused_in_one_line(done: tuple[Path, StudyResult], tmp_path: Path):
    folder = Path(shutil.copytree(done[0], tmp_path / "study"))
    row = next(row for row in done[1].rows if not row.error)
    for name, read in (
        ("study.json", lambda: load_study(folder)),
        (f"{row.folder}/1-shot.json", lambda: row.result(folder, 1)),
        (f"{row.folder}/1-shot.json", lambda: read_result(folder / row.folder / "1-shot.json")),
    ):
        values = json.loads((folder / name).read_text())
        values["format"] += 1
        (folder / name).write_text(json.dumps(seals.sealed({k: v for k, v in values.items() if k != "seal"})))
        with pytest.raises(DataError, match=r"is of a later kshot \(format 2, this one reads up to 1\): update"):
            read()
        (folder / name).write_text((done[0] / name).read_text())


def test_other_settings_are_refused(source: Path, done: tuple[Path, StudyResult]):
    with pytest.raises(OptionError, match="other settings \\(episodes differ\\)"):
        study.run(source, done[0], episodes=41)


COMPARE = """
[[compare]]
name = "Novel clips alone?"
of = "direct"
to = "frozen"
"""


def test_a_study_of_an_older_version_is_read_and_goes_on(
    source: Path, done: tuple[Path, StudyResult], tmp_path: Path
) -> None:
    """Its rows had no seeds of their own, nothing was declared, and its intervals were over all episodes."""
    folder = tmp_path / "old"
    shutil.copytree(done[0], folder)
    values = json.loads((folder / "settings.json").read_text())
    del values["compare"], values["seal"]
    for row in values["rows"]:
        del row["seeds"]
    (folder / "settings.json").write_text(json.dumps(seals.sealed(values)))
    report = json.loads((folder / "study.json").read_text())
    del report["comparisons"], report["settings"]["compare"]
    for line in report["summary"]:
        for key in ("over", "estimand", "kept", "difference_over", "difference_estimand", "paired"):
            line.pop(key, None)
    del report["seal"]
    (folder / "study.json").write_text(json.dumps(report))
    old = load_study(folder)
    assert {line.estimand for line in old.summary} == {"these classes, these trainings, new episodes"}
    assert old.comparisons == [] and "as an older version had it" in as_markdown(old)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*-shot.json")}
    declaring = tmp_path / "declaring.toml"
    declaring.write_text(source.read_text() + COMPARE)
    again = study.run(declaring, folder, store=source.parent / "store")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "nothing is run again"
    found = {(one.shot, one.paired, one.holm is not None) for one in again.comparisons}
    assert found == {(shot, 2, True) for shot in again.settings.shots}
    assert load_study(folder).comparisons == again.comparisons
    assert [line.accuracy for line in again.summary] == [line.accuracy for line in done[1].summary]


def test_a_begun_study_may_get_further_seeds_but_no_others(done: tuple[Path, StudyResult]) -> None:
    def asked(seeds: list[int], *of_rows: int) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(json.dumps(asdict(done[1].settings)))
        values["rows"][0]["seeds"] = list(of_rows)
        return values | {"seeds": seeds}

    for seeds in (asked([0, 1]), asked([0, 1, 2]), asked([0, 1], 0, 1, 7)):
        grid._refuse_other(done[0], seeds)
    for seeds in (asked([0]), asked([1, 0]), asked([0, 1, 2], 0), asked([5, 0, 1])):
        with pytest.raises(OptionError, match=r"other settings \(seeds differ\)"):
            grid._refuse_other(done[0], seeds)


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("episodes = 40", "epsiodes = 40", r"line 9: unknown key of a study 'epsiodes': did you mean 'episodes'"),
        ('strategy = "direct"', 'stratgy = "direct"', r"unknown key of a row 'stratgy': did you mean 'strategy'"),
        ("way = 2\n", 'way = "two"\n', "line 7: way must be a whole number, found 'two'"),
        ('baseline = "frozen"', 'baseline = "frosen"', "unknown baseline 'frosen': did you mean 'frozen'"),
        ('name = "direct"', 'name = "frozen"', "two rows are called 'frozen'"),
        ("[[row]]", "[[row", "is no TOML"),
        ("shots = [1, 2]", "shots = []", r"line 5: shots must be a list of numbers, found none"),
        ("way = 2\n", "way = 1\n", "line 7: way must be at least 2, found 1"),
        ("frames = 3", 'split = "tset"', "line 10: unknown split 'tset': did you mean 'test'"),
        ('strategy = "meta"', 'strategy = "mata"', r"line 25: row 'meta, proj': unknown strategy 'mata'.*'meta'"),
        ('tuning = "partial"', 'tuning = "partal"', "line 26: row 'meta, proj': unknown tuning method 'partal'"),
        ('tuning = "partial"', "tuning_options = { rank = 2 }", "line 26: row 'meta, proj': tuning 'partial' has no"),
        ('head = "trx"', 'head = "trxx"', "line 37: row 'broken': unknown head 'trxx': did you mean 'trx'"),
        ('head = "trx"', "head_options = { scale = 'x' }", "line 37: row 'broken': head 'prototype': option 'scale'"),
        (
            "episodes = 6",
            'train = { steps = "ten" }',
            "line 32: row 'direct': train: steps must be a whole number, found 'ten'",
        ),
        (
            "episodes = 6",
            'train = { optimizer = "adm" }',
            "line 32: row 'direct': train: unknown optimizer 'adm'.*'adam'",
        ),
        (
            "episodes = 6",
            "search = { lr = [1e-3, 'x'] }",
            "line 32: row 'direct': train: lr must be a finite number, found 'x'",
        ),
        ("steps = 3\n", "steps = 0\n", "line 13: row 'frozen': train: steps must be at least 1, found 0"),
    ],
)
def test_typos_name_the_key(source: Path, tmp_path: Path, before: str, after: str, text: str):
    path = tmp_path / "typo.toml"
    path.write_text(source.read_text().replace(before, after, 1))
    with pytest.raises(OptionError, match=text):
        study_file.read_study(path)


def test_unknown_study_and_foreign_folders(tmp_path: Path):
    with pytest.raises(OptionError, match="unknown study 'quik': did you mean 'quick'"):
        study_file.read_study("quik")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="holds no study"):
        study.run("quick", tmp_path)
    with pytest.raises(DataError, match="no finished study"):
        load_study(tmp_path)


def test_what_cannot_start_leaves_nothing_behind(source: Path, tmp_path: Path):
    plan = study_file.read_study(source)
    for change, text in (
        ({"data": ["motn"]}, "no data at 'motn'.*did you mean 'motion'"),
        ({"backbone": [str(tmp_path / "none")]}, "no backbone folder at"),
        ({"episodes": 0}, "episodes must be at least 1, found 0"),
    ):
        with pytest.raises(KshotError, match=text):
            study.run(plan, tmp_path / "out", **change)
        assert not (tmp_path / "out").exists()
    row = study_file.Row("odd", strategy="meta", head_options={"scael": 2})
    with pytest.raises(OptionError, match="row 'odd': head 'prototype' has no option 'scael'"):
        study.run(study_file.Study("s", (row,)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_line_is_found_among_rows_whose_names_begin_alike(tmp_path: Path):
    path = tmp_path / "alike.toml"
    path.write_text(
        'title = "s"\n[[row]]\nname = "meta"\nstrategy = "meta"\n# [[row]] is no row\n'
        '[[row]]\nname = "meta, again"\nstrategy = "meta"\n[row.train]\nlr = "x"\n'
    )
    with pytest.raises(OptionError, match=r"alike\.toml, line 9: row 'meta, again': train: lr must be"):
        study_file.read_study(path)


def test_shipped_studies_are_valid():
    for path in study_file.SHIPPED.glob("*.toml"):
        assert study_file.read_study(path.stem).rows


SEARCHED = """
title = "searched"
data = "{data}"
backbone = "{backbone}"
shots = [1, 2]
seeds = [0, 1]
way = 2
query = 2
episodes = 20
frames = 3
train = {{ steps = 2, val_every = 2, val_episodes = 5, way = 2, query = 1 }}
search = {{ lr = [1e-5, 1e-1] }}

[[row]]
name = "meta"
strategy = "meta"

[[row]]
name = "as it is"
strategy = "finetune-meta"
search = {{ }}
"""


def test_search_keeps_the_best_on_val_and_hands_it_to_the_other_seeds(source: Path, tmp_path: Path):
    path = tmp_path / "searched.toml"
    path.write_text(SEARCHED.format(data=write_clips(tmp_path / "clips"), backbone=source.parent / "clip"))
    report = study.run(path, tmp_path / "out", store=source.parent / "store")
    first, second = (next(r for r in report.rows if r.name == "meta" and r.seed == s) for s in (0, 1))
    tried = first.searched.tried
    assert [one.arguments for one in tried] == [{"lr": 1e-5}, {"lr": 0.1}]
    best = max(tried, key=lambda one: one.val_accuracy)
    assert first.chosen == second.chosen == first.searched.chosen == best.arguments
    assert first.val_accuracy == best.val_accuracy and second.searched is None
    for row in (first, second):
        (used,) = (tmp_path / "out" / row.folder).glob(f"run-*{'1e-05' if best.arguments['lr'] < 0.01 else '0-1-*'}")
        assert json.loads((used / "config.json").read_text())["schedule"]["lr"] == best.arguments["lr"]
        assert len(list((tmp_path / "out" / row.folder).glob("run*"))) == (2 if row is first else 1)
    assert all(row.chosen is None for row in report.rows if row.name == "as it is")
    assert f"lr {best.arguments['lr']}" in as_markdown(report)


def test_each_shot_has_its_own_search_where_it_trains_for_itself(source: Path, tmp_path: Path):
    text = SEARCHED.format(data=write_clips(tmp_path / "clips"), backbone=source.parent / "clip")
    (tmp_path / "each.toml").write_text(text.replace("seeds = [0, 1]", "seeds = [0, 1]\ntrain_shot = 0"))
    report = study.run(tmp_path / "each.toml", tmp_path / "out", store=source.parent / "store")
    first, second = (next(r for r in report.rows if r.name == "meta" and r.seed == s) for s in (0, 1))
    assert first.train_shot == second.train_shot == 0
    assert list(first.searches) == ["1", "2"] and first.searched == first.searches["1"] and not second.searches
    for shot, search in first.searches.items():
        best = max(search.tried, key=lambda one: one.val_accuracy).arguments
        assert search.chosen == best
        for row, count in ((first, 2), (second, 1)):
            runs = list((tmp_path / "out" / row.folder).glob(f"run-{shot}-shot-*"))
            shapes = [json.loads((run / "config.json").read_text()) for run in runs]
            assert len(runs) == count
            assert all(config["val_episodes"]["shot"] == int(shot) for config in shapes)
            assert best["lr"] in [config["schedule"]["lr"] for config in shapes]
    lines = {line.shot: line for line in report.summary if line.name == "meta"}
    assert {shot: line.chosen for shot, line in lines.items()} == {
        int(shot): f"lr {search.chosen['lr']}" for shot, search in first.searches.items()
    }


@pytest.mark.parametrize(
    ("protocol", "of_study", "of_row", "trains_at"),
    [
        (None, None, None, 1),
        ("clip-fsar", None, None, 1),
        ("cao2024", None, None, 0),
        ("cao2024:hmdb51", None, None, 0),
        ("cao2024", 1, None, 1),
        (None, 0, 3, 3),
    ],
)
def test_the_shot_of_training_is_the_rows_the_studys_or_the_protocols(
    protocol: str | None, of_study: int | None, of_row: int | None, trains_at: int
):
    rows = (study_file.Row("m", strategy="meta", train_shot=of_row),)
    plan = study_file.Study(title="s", rows=rows, protocol=protocol, train_shot=of_study)
    assert study.planned(plan).rows[0].train_shot == trains_at


def test_few_val_episodes_and_few_val_classes_are_said(source: Path, tmp_path: Path):
    text = SEARCHED.format(data=write_clips(tmp_path / "clips"), backbone=source.parent / "clip")
    text = text.replace('strategy = "finetune-meta"', 'strategy = "direct"\ntrain = { val_episodes = 2 }')
    (tmp_path / "few.toml").write_text(text.replace("seeds = [0, 1]", "seeds = [0]"))
    report = study.run(tmp_path / "few.toml", tmp_path / "out", store=source.parent / "store")
    found = {row.name: row.val_episodes for row in report.rows}
    assert found == {"meta": 5, "as it is": 2}
    assert {line.name: line.val_episodes for line in load_study(tmp_path / "out").summary} == found
    page = as_markdown(report)
    assert page.count("(chosen on 2 val episodes; others 5)") == 2, "in both cells of the row, and in no other"
    note = (
        "4 val classes: all val episodes show 2 of the same 4 classes, so what is chosen on them may suit those alone"
    )
    assert page.count(note) == 1 and all(any(n.startswith(note) for n in row.notes) for row in report.rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("search = { lr = 0.1 }", "search.lr must be a list of values to try, found 0.1"),
        ("search = { rate = [1, 2] }", "line 2: unknown key of search 'rate'"),
        ("train = { stepps = 3 }", "line 2: unknown key of train 'stepps': did you mean 'steps'"),
        ("train = 3", "train must be a table"),
    ],
)
def test_training_settings_are_checked_when_read(tmp_path: Path, line: str, message: str):
    path = tmp_path / "odd.toml"
    path.write_text(f'title = "odd"\n{line}\n[[row]]\nname = "a"\nstrategy = "meta"\n')
    with pytest.raises(OptionError, match=re.escape(message)):
        study_file.read_study(path)
