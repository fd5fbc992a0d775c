"""A project's folder: what it keeps, gives back and refuses."""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from forks import OBEDIENT, Forks
from kshot import __version__
from kshot.errors import DataError, OptionError, StoreError
from kshot.studio.history import EDITS
from kshot.studio.marks import Stretch, add_marks
from kshot.studio.project import QUERIES, Project
from kshot.studio.state import ModelRecord, PredictedSegment, TrainingProgress, Video, read_state


def put(project: Project, label: str | None = None, name: str = "a.mp4") -> Video:
    id, path = project.place(Path(name).suffix)
    path.write_bytes(b"pixels")
    return project.add_video(Video(id, name, path.name, 1.5, label=label))


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    with closing(Project(tmp_path / "p", {"backbone": "kshot-tiny"})) as project:
        wave = project.add_label("  wave\n ")
        video = put(project, wave.id)
        put(project)
        project.set_trained(ModelRecord("m", 1.0, project.clip_labels(), ["wave"], {}))
        before = project.state
    with closing(Project(tmp_path / "p", {})) as again:
        assert again.state == before
        assert again.label(wave.id).name == "wave"
        assert again.clip_labels() == {video.id: "wave"}
        assert again.path(video).read_bytes() == b"pixels"


def test_a_teaching_that_was_cut_off_is_told(tmp_path: Path) -> None:
    with closing(Project(tmp_path / "p", {})) as project, project.change() as state:
        state.training = TrainingProgress("running")
    with closing(Project(tmp_path / "p", {})) as again:
        assert again.state.training == TrainingProgress("interrupted")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (" \n\t", "an action needs a name"),
        ("w" * 61, "at most 60 characters, found 61"),
        ("Unknown", "is the answer for what shows none"),
        ("WAVE", "there is an action “WAVE” already"),
    ],
)
def test_names_that_are_refused(project: Project, name: str, text: str) -> None:
    project.add_label("wave")
    before = (project.folder / "project.json").read_bytes()
    with pytest.raises(OptionError, match=text):
        project.add_label(name)
    other = project.add_label("bow")
    with pytest.raises(OptionError, match=text):
        project.rename_label(other.id, name)
    assert [label.name for label in project.state.labels] == ["wave", "bow"]
    assert len(before) < len((project.folder / "project.json").read_bytes())


def test_each_action_has_a_colour_of_its_own(project: Project) -> None:
    labels = [project.add_label(name) for name in ("a", "b", "c")]
    assert [label.colour for label in labels] == [0, 1, 2]
    project.remove_label(labels[1].id)
    assert project.add_label("d").colour == 1


def test_what_is_removed_can_be_taken_back(project: Project) -> None:
    wave, bow = project.add_label("wave"), project.add_label("bow")
    one, two = put(project, wave.id), put(project, bow.id)
    project.remove_video(one.id)
    project.remove_label(bow.id)
    assert project.clip_labels() == {} and project.state.done[0].what == "removing “bow” and its 1 clip"
    project.undo()
    assert project.clip_labels() == {two.id: "bow"}
    project.undo()
    assert project.clip_labels() == {two.id: "bow", one.id: "wave"}
    version = project.version
    project.undo()
    assert project.clip_labels() == {two.id: "bow", one.id: "wave"} and project.version >= version


def test_an_action_comes_back_to_its_place(project: Project) -> None:
    """Its number is a key on the page. The places outlive the server, and what was added since stays behind."""
    first, second, _ = (project.add_label(name) for name in ("wave", "bow", "hop"))

    def named() -> list[str]:
        return [label.name for label in project.state.labels]

    project.remove_label(second.id)
    project.remove_label(first.id)
    project.add_label("run")
    assert named() == ["hop", "run"] and read_state(project.folder / "project.json")[0] == project.state
    project.undo()
    assert named() == ["wave", "hop", "run"]
    project.undo()
    assert named() == ["wave", "bow", "hop", "run"]
    assert project.redo() and project.redo() and named() == ["hop", "run"] and project.undo() and project.undo()
    project.clear()
    project.add_label("sit")
    project.undo()
    assert named() == ["wave", "bow", "hop", "run", "sit"]


def test_an_action_that_comes_back_beside_one_of_its_name_is_numbered(project: Project) -> None:
    wave = project.add_label("wave")
    clip = put(project, wave.id)
    project.remove_label(wave.id)
    project.add_label("Wave")
    project.undo()
    assert project.clip_labels() == {clip.id: "wave 2"}


def test_a_clip_whose_action_is_gone_comes_back_to_be_recognised(project: Project) -> None:
    wave = project.add_label("wave")
    clip = put(project, wave.id)
    project.remove_video(clip.id)
    project.remove_label(wave.id)
    with project.change() as state:
        state.done.pop(0)
    project.undo()
    assert project.clip_labels() == {} and [video.id for video in project.queries()] == [clip.id]


def test_a_history_of_edits_is_undone_and_done_again(project: Project) -> None:
    """Removals, moves and names, one after the other and back, with additions in between; a new edit ends that."""
    wave, bow = project.add_label("wave"), project.add_label("bow")
    clips = [put(project, wave.id, f"{number}.mp4") for number in range(4)]

    def shown() -> tuple[dict[str, str], list[str]]:
        return project.clip_labels(), [label.name for label in project.state.labels]

    seen = [shown()]
    for edit in (
        lambda: project.remove_video(clips[0].id),
        lambda: project.move_video(clips[1].id, bow.id),
        lambda: project.rename_label(bow.id, "deep bow"),
        lambda: project.remove_video(clips[2].id),
        lambda: project.remove_label(wave.id),
        lambda: project.remove_video(clips[1].id),
    ):
        edit()
        seen.append(shown())
    back = [project.undo() for _ in range(len(seen) - 1)]
    assert back == [
        "removing “1.mp4”", "removing “wave” and its 1 clip", "removing “2.mp4”", "renaming “bow”",
        "moving “1.mp4” to “bow”", "removing “0.mp4”",
    ]  # fmt: skip
    assert shown()[0] == seen[0][0] and sorted(shown()[1]) == sorted(seen[0][1]) and project.undo() == ""
    assert [project.redo() for _ in back] == back[::-1] and shown() == seen[-1] and project.redo() == ""
    for step in seen[-2:2:-1]:
        project.undo()
        assert shown()[0] == step[0]
    added = project.add_label("hop")
    put(project, added.id)
    assert project.redo() == "removing “2.mp4”", "what is added leaves the history as it is"
    project.undo()
    project.remove_label(added.id)
    assert project.redo() == "" and project.undo() == "removing “hop” and its 1 clip"


def test_a_clip_that_an_action_got_between_undo_and_redo_is_kept(project: Project) -> None:
    wave = project.add_label("wave")
    project.remove_label(wave.id)
    project.undo()
    clip = put(project, wave.id)
    project.redo()
    assert project.state.labels == [] and [video.id for video in project.queries()] == [clip.id]


def test_the_history_outlives_the_server(tmp_path: Path) -> None:
    with closing(Project(tmp_path / "p", {})) as project:
        wave, bow = project.add_label("wave"), project.add_label("bow")
        clip = put(project, wave.id)
        project.move_video(clip.id, bow.id)
        project.remove_video(clip.id)
        project.undo()
    with closing(Project(tmp_path / "p", {})) as again:
        assert again.clip_labels() == {clip.id: "bow"} and again.redo() == "removing “a.mp4”"
        assert again.undo() and again.undo() == "moving “a.mp4” to “bow”" and again.clip_labels() == {clip.id: "wave"}


def test_clearing_and_taking_it_back(project: Project) -> None:
    wave = project.add_label("wave")
    clip = put(project, wave.id)
    (project.folder / "models" / "m").mkdir()
    project.set_trained(ModelRecord("m", 1.0, {}, [], {}))
    project.clear()
    assert (project.state.labels, project.state.videos, project.state.trained) == ([], [], None)
    assert project.undo() == "putting away 1 clip"
    assert project.clip_labels() == {clip.id: "wave"} and project.state.trained is not None
    assert project.redo() and (project.state.labels, project.state.videos, project.state.trained) == ([], [], None)
    project.set_trained(ModelRecord("n", 1.0, {}, [], {}))
    assert (project.folder / "models" / "m").exists()


def test_files_of_nothing_go(tmp_path: Path) -> None:
    with closing(Project(tmp_path / "p", {})) as project:
        wave = project.add_label("wave")
        kept = put(project, wave.id)
        for number in range(EDITS + 1):
            project.remove_video(put(project, wave.id, f"{number}.mp4").id)
        (project.folder / "videos" / "left.part").write_bytes(b"half")
        (project.folder / "models" / "left").mkdir()
        (project.folder / "project.json.1.tmp").write_bytes(b"half")
    with closing(Project(tmp_path / "p", {})) as again:
        files = {path.name for path in (again.folder / "videos").iterdir()}
        assert kept.file in files and len(files) == 1 + EDITS
        assert not list((again.folder / "models").iterdir()) and not list(again.folder.glob("*.tmp"))


def test_old_tries_give_way(project: Project) -> None:
    tried = [put(project, name=f"{number}.mp4") for number in range(QUERIES + 2)]
    assert [video.id for video in project.queries()] == [video.id for video in tried[2:]]


def test_a_suffix_is_all_that_is_kept_of_a_name(project: Project) -> None:
    for suffix, kept in ((".mp4", ".mp4"), ("", ".video"), (".mp4/../../x", ".video"), (".sh", ".video")):
        id, path = project.place(suffix)
        assert path == project.folder / "videos" / f"{id}{kept}"


def test_a_change_that_fails_changes_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.add_label("wave")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match="No space left on device"):
        project.add_label("bow")
    monkeypatch.undo()
    assert [label.name for label in project.state.labels] == ["wave"]
    assert project.add_label("bow").colour == 1


def test_a_change_within_another_is_a_part_of_it(project: Project) -> None:
    wave, version = project.add_label("wave"), project.version
    before = (project.folder / "project.json").read_bytes()
    with pytest.raises(OptionError, match="there is an action “wave” already"), project.change():
        project.add_label("bow")
        project.add_label("wave")
    assert project.state.labels == [wave] and project.version == version
    assert (project.folder / "project.json").read_bytes() == before
    with project.change():
        project.add_label("bow")
        project.add_label("hop")
    assert project.version == version + 1 and read_state(project.folder / "project.json")[0] == project.state


def test_one_server_at_a_time(project: Project) -> None:
    with pytest.raises(DataError, match="is open in another `kshot serve`"):
        Project(project.folder, {})


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(DataError, match="holds other files and is no project"):
        Project(tmp_path, {})
    with pytest.raises(DataError, match="is a file"):
        Project(tmp_path / "thesis.tex", {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def saved(**changes: Any) -> str:
    """A project file with an action and a clip, as changed."""
    label = {"id": "a1", "name": "wave", "colour": 0}
    video = {"id": "b1", "name": "a.mp4", "file": "b1.mp4", "seconds": 1.0, "label": "a1"}
    taught = {"model": "m", "at": 1.0, "clips": {}, "classes": ["wave"], "report": {}}
    state: dict[str, Any] = {"labels": [label], "videos": [video], "taught": taught}
    for place, value in changes.items():
        *path, last = place.split("__")
        at: Any = state
        for part in path:
            at = at[int(part) if part.isdecimal() else part]
        at[last] = value
    return json.dumps({"format": 1, "kshot": "1", "state": state})


FILES = ("../../etc/passwd", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "a\\b", 3)
HOSTILE: list[str | bytes] = [
    *("", "{", "[]", "null", "3", '{"format": 1}', '{"format": "1", "state": {}}', '{"format": null}'),
    *('{"format": 1, "state": {"labels": 3}}', '{"format": 1, "state": []}'),
    *('{"format": 1, "generation": [], "state": {}}', '{"format": 1, "generation": 1e999, "state": {}}'),
    "[" * 100_000, '{"format": 1, "state": ' + '{"a":' * 100_000, b"\xff\xfe{\0}\0", b"\0" * 500, saved()[:200],
    *(saved(videos__0__file=name) for name in FILES),
    *(saved(videos__0__id=name) for name in ("../x", "", None, 3)),
    *(saved(taught__model=name) for name in ("../../m", "/m", "", None)),
    *(saved(base=name) for name in ("../../m", "/m", None)),
    *(saved(videos__0__seconds=value) for value in (float("nan"), float("inf"), "x", None, [])),
    *(saved(labels__0__colour=value) for value in (-1, 10**30, "x")),
    saved(labels__0__name=["wave"]), saved(videos__0__label="gone"), saved(labels=[]), saved(taught={}),
    saved(taught=[]), saved(settings={"store": "/etc"}), saved(settings={"backbone": 3}),
    saved(teaching={"status": []}), saved(removed=[{}]), saved(unknown=1)[:-9], saved(taught__at=float("nan")),
    saved(removed=[{"what": "x", "labels": [], "videos": [{"id": "../x"}]}]),
    saved(videos=[{"id": "b", "name": "", "file": "b", "seconds": 1}] * 2),
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
def test_a_damaged_project_is_told_and_kept(tmp_path: Path, content: str | bytes) -> None:
    Project(tmp_path / "p", {}).close()
    file = tmp_path / "p" / "project.json"
    data = content if isinstance(content, bytes) else content.encode()
    file.write_bytes(data)
    (tmp_path / "p" / "videos" / "a.mp4").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"project.json is damaged .*its videos are in") as told:
        Project(tmp_path / "p", {})
    assert "\n" not in str(told.value) and len(str(told.value)) < 700
    assert file.read_bytes() == data and (tmp_path / "p" / "videos" / "a.mp4").exists()


def test_a_project_file_as_earlier_versions_wrote_it(tmp_path: Path) -> None:
    """Without a generation, with a key in the folder that nothing asks for any more, and an answer without a shape."""
    Project(tmp_path / "p", {}).close()
    answer = {"kind": "clip", "segments": 3}
    (tmp_path / "p" / "project.json").write_text(saved(videos__0__answer=answer, extra="later"))
    (tmp_path / "p" / "session").write_text("secret")
    (tmp_path / "p" / "videos" / "b1.mp4").write_bytes(b"mine")
    with closing(Project(tmp_path / "p", {})) as project:
        assert project.clip_labels() == {"b1": "wave"} and project.video("b1").prediction is None
        assert not (tmp_path / "p" / "session").exists() and (tmp_path / "p" / "videos" / "b1.mp4").exists()


ANSWER = {
    "kind": "film", "seconds": 3.5, "classes": ["bow", "wave"],
    "times": [0.5, 1.5], "proba": [[0.25, 0.75], [1.0, 0.0]],
    "segments": [{"start": 0.0, "end": 1.0, "label": "wave", "score": 0.75},
                 {"start": 1.0, "end": 3.5, "label": "unknown", "score": None}],
    "notes": ["damaged"], "model": "m1",
}  # fmt: skip
TAUGHT = {
    "model": "m1",
    "at": 1.5,
    "seconds": 2.5,
    "clips": {"b1": "wave"},
    "classes": ["wave"],
    "report": {"why": None},
}
CLIP = {"id": "b1", "name": "a.mp4", "file": "b1.mp4", "seconds": 1.0, "source": "camera", "group": "g", "label": "a1",
        "answer": None, "error": "", "truth": ""}  # fmt: skip
QUERY = {**CLIP, "id": "b2", "file": "b2.mp4", "label": None, "answer": ANSWER, "error": "e", "truth": "wave"}
WAVE = {"id": "a1", "name": "wave", "colour": 3, "before": 2}
EVERYTHING: dict[str, Any] = {
    "example": True, "drawing": False, "settings": {"backbone": "kshot-tiny", "method": "otam"}, "labels": [WAVE],
    "videos": [CLIP, QUERY], "taught": TAUGHT, "teaching": {"status": "failed", "error": "too few"}, "base": "m0",
    "removed": [
        {"what": "all", "labels": [], "videos": [], "taught": TAUGHT, "example": True, "base": "m0"},
        {"what": "one", "labels": [WAVE], "videos": [CLIP]},
    ],
}  # fmt: skip
"""A project file's state as kshot 0.1 writes it, with something in every field."""


def test_every_field_of_a_saved_project_is_read_and_written_as_before(tmp_path: Path) -> None:
    Project(tmp_path / "p", {}).close()
    file = tmp_path / "p" / "project.json"
    file.write_text(json.dumps({"format": 1, "kshot": "0.1.0", "generation": 7, "saved": 1.0, "state": EVERYTHING}))
    with closing(Project(tmp_path / "p", {})) as project:
        state = project.state
        assert state.training == TrainingProgress("failed", "too few") and state.trained == ModelRecord(
            "m1", 1.5, {"b1": "wave"}, ["wave"], {"why": None}, seconds=2.5
        )
        prediction = project.queries()[0].prediction
        assert prediction is not None and prediction.segments[1] == PredictedSegment(1.0, 3.5, "unknown", None)
        assert state.done[0].trained == state.trained and state.done[1].videos == project.clips()
    again = json.loads(file.read_text())
    assert (again["format"], again["generation"]) == (1, 8)
    wanted = copy.deepcopy(EVERYTHING)
    wanted["removed"][1] |= {"taught": None, "example": False, "base": ""}
    assert again["state"] == wanted


def test_what_was_before_the_last_change_is_kept(tmp_path: Path) -> None:
    with closing(Project(tmp_path / "p", {})) as project:
        project.add_label("wave")
        project.add_label("bow")
        file, before = tmp_path / "p" / "project.json", tmp_path / "p" / "project.before.json"
        assert json.loads(file.read_text())["generation"] == json.loads(before.read_text())["generation"] + 1 == 3
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DataError, match="copy it over the damaged one"):
        Project(tmp_path / "p", {})
    before.replace(file)
    with closing(Project(tmp_path / "p", {})) as again:
        assert [label.name for label in again.state.labels] == ["wave"]


def test_a_project_of_a_newer_kshot_is_told(tmp_path: Path) -> None:
    Project(tmp_path / "p", {}).close()
    file = tmp_path / "p" / "project.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2, "kshot": "9.1"}))
    before = file.read_bytes()
    with pytest.raises(DataError) as refused:
        Project(tmp_path / "p", {})
    assert str(refused.value) == (
        f"{file} was written by kshot 9.1, newer than this one ({__version__}): upgrade kshot, or name another folder "
        f"with --project"
    )
    assert file.read_bytes() == before


def test_a_folder_that_cannot_be_written(tmp_path: Path, forks: Forks) -> None:
    tmp_path.chmod(0o500)
    script = (
        OBEDIENT
        + "import sys, pathlib; from kshot.studio.project import Project; Project(pathlib.Path(sys.argv[1]), {})"
    )
    done = forks(script, tmp_path / "p")
    tmp_path.chmod(0o700)
    assert "StoreError: cannot write to" in done.stderr and not list(tmp_path.iterdir())


def test_killed_at_any_moment_it_loads(tmp_path: Path, forks: Forks) -> None:
    """Labels are added without end; whenever that is killed, the project holds a beginning of their row."""
    script = """
import itertools, os, pathlib, sys
from kshot.studio.project import Project
project = Project(pathlib.Path(sys.argv[1]), {})
pathlib.Path(sys.argv[2]).write_text(str(os.getpid()))
for number in itertools.count():
    project.add_label(f"action {number}")
    if number == 90:
        project.clear()
"""
    pid = tmp_path / "pid"
    for attempt in range(5):
        folder = tmp_path / f"p{attempt}"
        thread = threading.Thread(target=forks, args=(script, folder, pid))
        thread.start()
        while not pid.exists() or not pid.read_text():
            time.sleep(0.005)
        time.sleep(0.013 * attempt)
        os.kill(int(pid.read_text()), signal.SIGKILL)
        thread.join()
        pid.unlink()
        with closing(Project(folder, {})) as again:
            names = [label.name for label in again.state.labels]
            first = int(names[0].split()[1]) if names else 0
            assert names == [f"action {first + place}" for place in range(len(names))]


def test_the_backbone_of_a_project_is_that_of_its_clips(tmp_path: Path) -> None:
    """Kept where one was named; clips of the example are drawn, also those from before there was a mark."""
    with closing(Project(tmp_path / "p", {})) as project:
        wave = project.add_label("wave").id

        def put(id: str, source: str) -> None:
            (project.folder / "videos" / f"{id}.mp4").write_bytes(b"video")
            project.add_video(Video(id, id, f"{id}.mp4", 1.0, source, label=wave))

        put("a", "example")
        assert project.default_backbone() == ("kshot-tiny", ())
        put("b", "camera")
        assert project.default_backbone().name == "lite"
        assert project.default_backbone().notes[0].startswith("1 of the 2 clips are drawn and the others are not")
        project.remove_video("a")
        assert project.default_backbone() == ("lite", ())
        project.remove_video("b")
        assert project.default_backbone().name == "kshot-tiny", "nothing but what may be the example"
        (project.folder / "videos" / "film.mp4").write_bytes(b"film")
        project.add_video(Video("film", "film", "film.mp4", 100.0, film=True))
        add_marks(project, "film", [Stretch(wave, 1, 2)])
        assert project.default_backbone() == ("lite", ()), "a film with marks is a source of clips"
    with closing(Project(tmp_path / "p", {"backbone": "ViT-B/16"})) as project:
        assert project.default_backbone() == ("ViT-B/16", ())
    with closing(Project(tmp_path / "p", {})) as project:
        assert project.default_backbone() == ("ViT-B/16", ())


@pytest.mark.parametrize(
    ("report", "source", "kept"),
    [({}, "camera", "mine"), ({"backbone": "mine"}, "camera", "lite"), ({}, "example", "kshot-tiny")],
)
def test_a_project_of_an_older_version_goes_on_with_its_backbone(
    report: dict[str, str], source: str, kept: str, tmp_path: Path
) -> None:
    """Older versions wrote no backbone into a report: their model's config.json names it."""
    Project(tmp_path / "p", {}).close()
    model = tmp_path / "p" / "models" / "m1"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"backbone": {"name": "mine", "fingerprint": "f"}}))
    clip = CLIP | {"source": source}
    state = EVERYTHING | {"settings": {}, "taught": TAUGHT | {"report": report}, "base": "", "videos": [clip]}
    file = tmp_path / "p" / "project.json"
    file.write_text(json.dumps({"format": 1, "kshot": "0.1.0", "generation": 7, "saved": 1.0, "state": state}))
    for _ in range(2):
        with closing(Project(tmp_path / "p", {})) as project:
            assert project.default_backbone().name == kept
    with closing(Project(tmp_path / "p", {"backbone": "other"})) as project:
        assert project.default_backbone().name == "other"
