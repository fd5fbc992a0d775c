"""`kshot fit` and `kshot predict` through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from forks import OBEDIENT, Forks
from kshot import Recognizer
from kshot.datasets import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("taught")


@pytest.fixture
def model(command, clips_csv: Path, clip_folder: Path, place: Path) -> Path:
    """Taught once; to look at only."""
    out = place / "model"
    if out.exists():
        return out
    code, text, error = command("fit", f"{clips_csv}?split=test", "--backbone", clip_folder, "--out", out)
    assert code == 0, error
    assert "trained on" in text and f"next: kshot predict {out} VIDEO" in text
    return out


def test_predict_answers_as_the_recognizer_does(command, model: Path, clips_csv: Path):
    paths = load(clips_csv).select("test").paths[:3]
    code, text, error = command("predict", model, *paths, "--json")
    assert code == 0, error
    answers = json.loads(text)["answers"]
    known = Recognizer.load(model)
    assert [one["label"] for one in answers] == known.predict(paths).tolist()
    whole = known.answer(paths)
    assert [one["likeness"] for one in answers] == pytest.approx(whole.known, abs=1e-4)
    assert json.loads(text)["threshold"] == (known.threshold_ if np.isfinite(known.threshold_) else None)
    assert [one["proba"][known.classes_[0]] for one in answers] == pytest.approx(known.predict_proba(paths)[:, 0])
    code, text, _ = command("predict", model, paths[0])
    assert code == 0 and text.startswith(f"{paths[0]}: {answers[0]['label']}  (")
    likeliest, score = max(answers[0]["proba"].items(), key=lambda item: item[1])
    assert f"({likeliest} {100 * score:.0f} %, " in text


def test_a_timeline_is_printed_or_written(command, model: Path, clips_csv: Path, tmp_path: Path):
    path = load(clips_csv).select("test").paths[1]
    code, text, error = command("predict", model, path, "--timeline", "--format", "vtt")
    assert code == 0 and text.startswith("WEBVTT"), error
    out, picture = tmp_path / "course.csv", tmp_path / "course.png"
    code, _, error = command(
        "predict", model, path, "--timeline", "--format", "csv", "--out", out, "--picture", picture
    )
    assert code == 0, error
    assert out.read_text().startswith("path,label,start,end,score\n") and picture.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_done_is_one_line(command, model: Path, clips_csv: Path, clip_folder: Path, tmp_path: Path):
    path = load(clips_csv).paths[1]
    for arguments, message in (
        (("fit", clips_csv, "--out", model), "exists already"),
        (("predict", tmp_path / "nothing", path), "nothing"),
        (("predict", model, tmp_path / "none.mp4"), "none.mp4"),
        (("predict", model, path, path, "--timeline"), "a timeline is of one video, found 2"),
        (("predict", model, path, "--format", "csv"), "add --timeline"),
        (("predict", model, path, "--timeline", "--format", "xml"), "unknown format 'xml'"),
        (("fit", tmp_path / "none", "--out", tmp_path / "m"), "none"),
    ):
        code, text, error = command(*arguments)
        assert code == 2 and message in error and error.count("\n") == 1 and not text, (arguments, error)
    assert not (tmp_path / "m").exists()


def test_one_action_is_not_enough(command, clips_csv: Path, clip_folder: Path, tmp_path: Path):
    code, _, error = command("fit", f"{clips_csv}?label=wave", "--backbone", clip_folder, "--out", tmp_path / "m")
    assert code == 2 and "at least two actions" in error and not (tmp_path / "m").exists()


def test_an_adapted_recognizer_is_saved_with_its_weights(adapted: Path, backbone, clips_csv: Path, tmp_path: Path):
    data = load(clips_csv).only(["clap", "wave"])
    labels = [data.classes[number] for number in data.labels]
    taught = Recognizer(backbone, adapted=adapted, method="prototype").fit(data.paths, labels)
    again = Recognizer.load(taught.save(tmp_path / "model"), backbone)
    some = data.paths[::5]
    assert np.array_equal(again.predict_proba(some), taught.predict_proba(some))
    plain = Recognizer(backbone, method="prototype").fit(data.paths, labels)
    assert not np.allclose(plain.predict_proba(some), taught.predict_proba(some), atol=1e-6)


def test_fit_says_what_to_expect(command, clips_csv: Path, clip_folder: Path, adapted: Path, tmp_path: Path):
    code, text, error = command(
        "fit", f"{clips_csv}?split=test", "--backbone", clip_folder, "--adapted", adapted, "--method", "prototype",
        "--no-thumbnails", "--out", tmp_path / "m", "--json",
    )  # fmt: skip
    assert code == 0, error
    told = json.loads(text)
    assert told["method"] == "prototype" and told["accuracy"]["low"] <= told["accuracy"]["value"]
    assert (tmp_path / "m" / "README.md").exists() and not (tmp_path / "m" / "thumbnails").exists()
    assert list((tmp_path / "m").glob("adapted-*/weights.safetensors"))
    code, text, _ = command("fit", f"{clips_csv}?split=test", "--backbone", clip_folder, "--out", tmp_path / "n")
    assert code == 0 and "expected: " in text and "equally frequent" in text and "method: " in text


def test_a_broken_clip_is_named_and_the_others_go_on(command, model: Path, clips_csv: Path, tmp_path: Path):
    path = load(clips_csv).select("test").paths[0]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    code, text, error = command("predict", model, path, broken, path)
    assert code == 2 and text.count(f"{path}: ") == 2 and error.count("\n") == 1 and "broken.mp4" in error
    code, text, error = command("predict", model, broken, path, "--json")
    first, second = json.loads(text)["answers"]
    assert code == 2 and "broken.mp4" in first["error"] and second["label"]
    code, text, error = command("predict", model, broken)
    assert code == 2 and not text and error.count("\n") == 1


def test_options_are_checked_before_a_clip_is_read(command, clips_csv: Path, clip_folder: Path, tmp_path: Path):
    for arguments, message in (
        (("--method", "magic"), "unknown method 'magic'"),
        (("--background", "nothing"), "unknown background label 'nothing'"),
        (("--unknown-share", "1.5"), "expected share of an unknown clip from 0 to 1, found 1.5"),
        (("--unknown-cost", "-1"), "expected cost of an unknown clip from 0 to inf, found -1.0"),
        (("--adapted", tmp_path / "no-run"), "is not a run folder"),
        (("--frames", "0"), "frames must be at least 1"),
    ):
        code, text, error = command(
            "fit",
            clips_csv,
            "--backbone",
            clip_folder,
            "--out",
            tmp_path / "m",
            "--store",
            tmp_path / "store",
            *arguments,
        )
        assert code == 2 and message in error and error.count("\n") == 1 and not text, (arguments, error)
        assert not (tmp_path / "m").exists() and not (tmp_path / "store").exists()


def test_no_command_writes_among_the_clips(command, tmp_path: Path):
    for name in ("bow", "wave"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        (tmp_path / "clips" / name / "1.mp4").touch()
    (tmp_path / "s.toml").write_text('title = "t"\nbackbone = "kshot-tiny"\n[[row]]\nname = "a"\n')
    clips, out = tmp_path / "clips", tmp_path / "clips" / "out"
    for arguments in (("fit", clips), ("train", clips), ("study", tmp_path / "s.toml", "--data", clips)):
        code, text, error = command(*arguments, "--out", out)
        assert code == 2 and not text and not out.exists(), error
        assert error == f"kshot: --out {out} lies in {clips}, the folder of the clips: name a folder outside of it\n"


MAIN = "\nimport sys\nfrom kshot.cli import main\nmain(sys.argv[1:])"


def test_a_fit_that_the_disk_refused_can_be_run_again(
    command, forks: Forks, clips_csv: Path, clip_folder: Path, tmp_path: Path
):
    """As the message says: the same command works once there is room, and so does one into a folder made by hand."""
    arguments = ("fit", f"{clips_csv}?split=val", "--backbone", clip_folder, "--store", tmp_path / "store", "--out")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))"
    (tmp_path / "made").mkdir()
    assert command(*arguments, tmp_path / "first")[0] == 0  # the store has all that it needs
    before = {path.name for path in tmp_path.iterdir()}
    for name in ("new", "made"):
        done = forks(limit + MAIN, *arguments, tmp_path / name)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith(f"kshot: cannot write to {tmp_path / name}: File too large")
        assert done.stderr.count("\n") == 1 and "run the same command again" in done.stderr
        assert {path.name for path in tmp_path.iterdir()} == before | ({"new"} if name == "made" else set())
        assert name == "new" or not list((tmp_path / name).iterdir())
        code, _, error = command(*arguments, tmp_path / name)
        assert code == 0, error
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = forks(OBEDIENT + MAIN, *arguments, closed / "model")
    closed.chmod(0o755)
    assert done.returncode == 2 and done.stderr.startswith(f"kshot: cannot write to {closed / 'model'}: Permission")
    assert command(*arguments, closed / "model")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "hf://me/gym", __file__),
        ("watch", "hf://me/gym", "--file", __file__),
        ("export", "hf://me/gym", "--out", "OUT"),
        ("serve", "hf://me/gym", "--no-browser", "--port", 0, "--project", "OUT"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_with_a_model_takes_it_from_the_hub(
    command, arguments: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    fetched = tmp_path / "fetched"
    monkeypatch.setattr("kshot.backbones.hub.fetch", lambda repository: asked.append(repository) or fetched)
    code, out, error = command(*(tmp_path / "out" if part == "OUT" else part for part in arguments))
    assert asked == ["me/gym"]
    assert (code, out, len(error.splitlines())) == (2, "", 1)
    assert f"{tmp_path / 'fetched'} is not a model folder" in error


def test_what_is_fetched_answers_and_exporting_it_asks_for_a_place(
    command, model: Path, clips_csv: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("kshot.backbones.hub.fetch", lambda repository: model)
    path = load(clips_csv).select("test").paths[0]
    assert command("predict", "hf://me/gym", path)[:2] == command("predict", model, path)[:2]
    code, _, error = command("export", "hf://me/gym")
    assert code == 2 and "hf://me/gym lies on the hub: name a folder to write to with --out" in error


def test_a_relative_backbone_is_missed_elsewhere_with_the_way_out(
    command, clips_csv: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of a model and of a run: the message says what was relative, and the option that it names works."""
    monkeypatch.chdir(clip_folder.parent)
    model, run, store = tmp_path / "model", tmp_path / "run", ("--store", tmp_path / "store")
    named = ("--backbone", f"./{clip_folder.name}")
    assert command("fit", f"{clips_csv}?split=test", *named, *store, "--method", "prototype", "--out", model)[0] == 0
    assert command("train", clips_csv, *named, *store, "--steps", 1, "--out", run)[0] == 0
    monkeypatch.chdir(tmp_path)
    clip = load(clips_csv).select("test").paths[0]
    for arguments in (
        ("predict", model, clip),
        ("evaluate", clips_csv, "--adapted", run, *store, "--way", 3, "--shot", 1, "--query", 1, "--episodes", 1),
        ("export", model, "--out", tmp_path / "onnx"),
    ):
        code, out, error = command(*arguments)
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert f"no backbone folder at './{clip_folder.name}'" in error
        assert error.endswith("was seen from where that command ran; pass where it lies now with --backbone FOLDER\n")
        code, _, error = command(*arguments, "--backbone", clip_folder)
        assert code == 0, error


def test_a_folder_or_table_stands_for_its_clips(command, model: Path, clips_csv: Path, tmp_path: Path):
    paths = [path for path in load(clips_csv).select("test").paths if path.is_file()][:3]
    for number, path in enumerate(paths):
        place = tmp_path / "new" / ("wave", "#recycle", "bow")[number] / f"{number}.mp4"
        place.parent.mkdir(parents=True)
        place.write_bytes(path.read_bytes())
    (tmp_path / "new" / "notes.txt").touch()
    code, text, error = command("predict", model, tmp_path / "new", "--json")
    assert code == 0, error
    expected = [str(tmp_path / "new" / name) for name in ("bow/2.mp4", "wave/0.mp4")]
    assert [one["video"] for one in json.loads(text)["answers"]] == expected
    assert error.splitlines() == [
        "note: 1 file (.txt 1: notes.txt) beside the clips passed over",
        "note: 1 hidden or system folder (#recycle) passed over",
    ]
    assert [f"note: {note}" for note in json.loads(text)["notes"]] == error.splitlines()
    table = tmp_path / "new" / "list.csv"
    table.write_text("path;set\nwave\\0.mp4;a\nbow\\2.mp4;b\nwave\\0.mp4;b\n")
    for given, count in ((table, 3), (f"{table}?set=a", 1)):
        code, text, error = command("predict", model, given, paths[0], "--json")
        assert code == 0, error
        found = [one["video"] for one in json.loads(text)["answers"]]
        assert found == [*[expected[1], expected[0], expected[1]][:count], str(paths[0])]
    (tmp_path / "empty").mkdir()
    for given, message in (
        (tmp_path / "empty", "holds no clips: expected videos"),
        (f"{table}?set=c", "list.csv lists no clips with {'set': 'c'}"),
        (f"{table}?colour=c", "no column 'colour' in the header, found path, set"),
    ):
        code, text, error = command("predict", model, given)
        assert (code, text, error.count("\n")) == (2, "", 1) and message in error


def test_one_clip_an_action_is_one_line_of_advice(command, clips_csv: Path, clip_folder: Path, tmp_path: Path):
    data = load(clips_csv)
    rows = []
    for label in range(len(data.classes)):
        first = int(np.flatnonzero(data.labels == label)[0])
        rows.append((str(data.paths[first]), data.classes[label]))
    table = tmp_path / "one.csv"
    table.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    arguments = ("--backbone", clip_folder, "--store", tmp_path / "store", "--method", "prototype")
    code, text, error = command("fit", table, *arguments, "--out", tmp_path / "m")
    assert code == 0, error
    advice = "one clip only: add another, filmed at another time, to learn how well it is recognised"
    assert text.count(advice) == 1 and f"\n{len(rows)} actions: {advice}\n" in text
    assert "Add a second clip of each action" in text and "Add actions" not in text
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.count("one clip only") == 1 and f"- {len(rows)} actions: {advice}." in card


def test_shares_beside_the_actions_say_how_they_relate_to_what_is_expected(model: Path, capsys):
    from kshot.cli.recognizer import _tell_fit

    known = Recognizer.load(model)
    _tell_fit({"model": "m", "clips": known.n_clips_, **known.report_.plain()})
    told = capsys.readouterr().out
    assert known.report_.accuracy is not None
    how = known.report_.accuracy.how
    assert f"from: {how}; the shares beside the actions are of the same answers, not corrected\n" in told
    assert "These shares come from the same answers as the expectation above" in (model / "README.md").read_text()
    assert "of new clips like these get their label" in told and "scored" not in told


def test_what_is_expected_says_of_which_actions(model: Path, capsys):
    from kshot.cli.recognizer import _tell_fit
    from kshot.recognizer.card import card

    values = Recognizer.load(model).report_.plain()
    values["classes"][0]["accuracy"] = None
    first, *others = (one["label"] for one in values["classes"])
    _tell_fit({"model": "m", "clips": 9, **values})
    told = capsys.readouterr().out
    of = f"{', '.join(others[:-1])} and {others[-1]}"
    assert f"of new clips like these, of {of}, get their label" in told and "where all of them are equally" in told
    assert f"\nnot scored, so nothing is known of: {first}\n" in told
    text = card(json.loads((model / "config.json").read_text()) | {"report": values}, [])
    assert f"of new clips like these, of {of}, get their label" in text
    assert f"Nothing is known of {first}, which could not be scored. Where all actions that were scored are" in text


def test_a_damaged_clip_names_the_option_that_takes_it(command, model: Path, shared: Path):
    code, _, error = command("predict", model, shared / "odd-videos" / "decord--corrupted.mp4")
    assert code == 2 and error.endswith("(--allow-damaged, or allow_damaged=True, takes what is left)\n")
