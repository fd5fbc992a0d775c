"""Published lists: the same content passes in every form, any other is refused, fetching leaves nothing half done."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest

from kshot.datasets import lists
from kshot.datasets.benchmark import SPLITS, Benchmark, benchmark, digest
from kshot.datasets.kinetics100 import KINETICS100
from kshot.errors import DataError

CLASSES = {"train": ("air drumming", "high kick"), "val": ("juggling (balls)",), "test": ("tap dancing", "unboxing")}


def clips(split: str) -> list[tuple[str, str]]:
    """(label, id) of six clips a class."""
    return [
        (label, f"{split[:2]}{number}{clip}-_aBcDe{clip}_00000{clip}_00001{clip}"[:25])
        for number, label in enumerate(CLASSES[split])
        for clip in range(6)
    ]


@pytest.fixture
def bench() -> Benchmark:
    """Kinetics in small."""
    return replace(
        KINETICS100, name="tiny", title="Tiny", classes=CLASSES, clips={s: len(clips(s)) for s in SPLITS},
        digests={s: digest(clips(s)) for s in SPLITS}, lists={},
    )  # fmt: skip


def write(folder: Path, form: str) -> list[Path]:
    """The list in one of its forms, a file a split; the order differs from form to form."""
    folder.mkdir()
    written = []
    for split in SPLITS:
        rows = clips(split)[:: -1 if form in ("numbers", "csv") else 1]
        file = folder / f"{split}{'.csv' if form == 'csv' else 'list03.txt'}"
        if form == "csv":
            with file.open("w", newline="") as text:
                csv.writer(text).writerows([("path", "label"), *((f"{c.replace(' ', '_')}/{i}", c) for c, i in rows)])
        else:
            numbers = {label: f"{split}{number}" for number, label in enumerate(CLASSES[split])}
            lines = {
                "names": [f"{label}/{clip}" for label, clip in rows],
                "folders": [
                    f"{numbers[label]}//train_256/{label.replace(' ', '_')}/{clip}.mp4" for label, clip in rows
                ],
                "numbers": [f"{numbers[label]}/{clip}" for label, clip in rows],
            }[form]
            file.write_text("\n".join(lines) + "\n")
        written.append(file)
    return written


@pytest.mark.parametrize("form", ["csv", "names", "folders", "numbers"])
def test_every_form_of_the_list_is_the_list(form: str, bench: Benchmark, tmp_path: Path) -> None:
    listed = lists.read_lists(bench, write(tmp_path / form, form))
    assert listed == {clip: (label, split) for split in SPLITS for label, clip in clips(split)}


def test_one_csv_with_splits_is_the_list(bench: Benchmark, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    with file.open("w", newline="") as text:
        rows = [(f"{clip}.mp4", label, split) for split in SPLITS for label, clip in clips(split)]
        csv.writer(text).writerows([("path", "label", "split"), *rows])
    assert len(lists.read_lists(bench, [file])) == 30


@pytest.mark.parametrize("name", ["kinetics100", "kinetics100-clipfsar", "ssv2-small", "ssv2-full", "hmdb51"])
def test_the_published_lists_are_taken(name: str, shared: Path) -> None:
    bench = benchmark(name)
    listed = lists.read_lists(bench, [shared / "splits" / f"{name.replace('-', '_')}_{split}.csv" for split in SPLITS])
    assert len(listed) == sum(bench.clips.values())


def test_the_other_list_of_kinetics_is_refused(shared: Path) -> None:
    files = [shared / "splits" / f"kinetics100_clipfsar_{split}.csv" for split in SPLITS]
    with pytest.raises(
        DataError, match=r"not the published list of Kinetics-100 \(CMN\): split train has 6,400 clips, sha"
    ):
        lists.read_lists(benchmark("kinetics100"), files)


@pytest.mark.parametrize(("change", "why"), [
    (lambda t: t.replace("air drumming/tr00", "air drumming/tr0X"), r"not the published list of Tiny: split train"),
    (lambda t: t + "air drumming/tr99-_aBcDe0_000000_000010\n", r"train has 13 clips, sha256 \w+\.\.\., expected 12"),
    (lambda t: t + t.splitlines()[0], r"trainlist03.txt, line 13: clip 'tr00-.*' is listed twice"),
    (lambda t: t.replace("high kick", "high kicks", 1), r"7: Tiny has no class 'high kicks': did you mean 'high kick'"),
    (lambda t: t + "tap dancing/x\n", r"trainlist03.txt, line 13: class 'tap dancing' is in split 'train', but Tin"),
    (lambda t: t.replace("high kick", "train7", 1), r"line 7: Tiny has no class 'train7'"),
])  # fmt: skip
def test_another_list_is_refused(change, why: str, bench: Benchmark, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    files = write(tmp_path / "lists", "names")
    files[0].write_text(change(files[0].read_text()))
    with pytest.raises(DataError, match=why):
        lists.read_lists(bench, files)


def test_a_class_in_two_splits_is_refused(bench: Benchmark, tmp_path: Path) -> None:
    files = write(tmp_path / "lists", "names")
    files[2].write_text(files[2].read_text() + "high kick/zz\n")
    with pytest.raises(
        DataError, match=r"testlist03.txt, line 13: class 'high kick' is in split 'test', but in 'train' at"
    ):
        lists.read_lists(bench, files)


def test_the_list_of_another_benchmark_is_known_for_it(shared: Path) -> None:
    files = [shared / "splits" / f"ssv2_full_{split}.csv" for split in SPLITS]
    with pytest.raises(
        DataError, match=r"train.csv, line 4: .* no class 'Holding something': ssv2-full has it, so this"
    ):
        lists.read_lists(benchmark("ssv2-small"), files)


def test_a_split_that_is_missing_is_noticed(bench: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clip of split val: give the whole published list of Tiny"):
        lists.read_lists(bench, write(tmp_path / "lists", "names")[:1])


def test_files_that_are_no_lists(bench: Benchmark, tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "clips.txt").write_text("a/b\n")
    (tmp_path / "train.csv").write_text("path,label,split\na,high kick,tset\n")
    (tmp_path / "val.csv").write_text("path,label\n,high kick\n")
    for name, why in (
        ("train.bin", "is no UTF-16 text"), ("clips.txt", "which split is it"), ("gone_train.txt", "no such file"),
        ("train.csv", "line 2: unknown split 'tset': did you mean 'test'"), ("val.csv", "line 2: expected a path"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=f"({name}.*{why}|{why}.*{name})"):
            lists.read_lists(bench, [tmp_path / name])


def test_a_list_of_windows_is_the_list(bench: Benchmark, tmp_path: Path) -> None:
    """UTF-16, other line ends, backslashes and semicolons."""
    for form in ("csv", "folders"):
        files = write(tmp_path / form, form)
        before = lists.read_lists(bench, files)
        for file in files:
            text = file.read_text().replace(",", ";") if form == "csv" else file.read_text()
            file.write_bytes(text.replace("/", "\\").replace("\n", "\r\n").encode("utf-16"))
        assert lists.read_lists(bench, files) == before


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server on this machine: its address, its folder, and the paths it was asked for."""
    folder, asked = tmp_path / "public", []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            file = folder / PurePosixPath(self.path).name
            self.send_response(200 if file.exists() else 404)
            self.end_headers()
            self.wfile.write(file.read_bytes() if file.exists() else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/lists", folder, asked
    server.shutdown()
    server.server_close()


def test_a_list_is_fetched_once(bench: Benchmark, served: tuple[str, Path, list[str]], home: Path) -> None:
    url, folder, asked = served
    write(folder, "numbers")
    bench = replace(bench, name="fetched", lists={split: f"{url}/{split}list03.txt" for split in SPLITS})
    files = lists.fetch(bench)
    assert files == [home / "lists" / "fetched" / f"{split}.txt" for split in SPLITS] == lists.fetch(bench)
    assert asked == [f"/lists/{split}list03.txt" for split in SPLITS] and len(lists.read_lists(bench, files)) == 30


def test_a_fetched_file_that_is_not_the_list_is_thrown_away(
    bench: Benchmark, served: tuple[str, Path, list[str]], home: Path
) -> None:
    url, folder, _ = served
    files = write(folder, "numbers")
    bench = replace(bench, name="changed", lists={split: f"{url}/{split}list03.txt" for split in SPLITS})
    files[1].write_text(files[1].read_text().replace("_000", "_001", 1))
    with pytest.raises(DataError, match=rf"fetched from {url}: .*not the published list of Tiny: split val has 6"):
        lists.fetch(bench)
    assert not list((home / "lists" / "changed").iterdir())


def test_a_place_that_does_not_answer(bench: Benchmark, served: tuple[str, Path, list[str]], home: Path) -> None:
    url, _, _ = served
    gone = replace(bench, name="gone", lists={split: f"{url}/{split}.txt" for split in SPLITS})
    with pytest.raises(
        DataError, match=rf"{url}/train.txt cannot be fetched \(Not Found\): get it by hand and give it"
    ):
        lists.fetch(gone)
    with pytest.raises(DataError, match=r"127.0.0.1:9/train.txt cannot be fetched \(.*refused.*\)"):
        lists.fetch(replace(gone, lists={split: f"http://127.0.0.1:9/{split}.txt" for split in SPLITS}))
    assert not (home / "lists" / "gone").exists()


def test_a_place_that_sends_too_much(
    bench: Benchmark, served: tuple[str, Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder, _ = served
    write(folder, "names")
    monkeypatch.setattr(lists, "LARGEST", 100)
    with pytest.raises(DataError, match="more than 0 MB: it is not the list"):
        lists.fetch(replace(bench, name="long", lists={split: f"{url}/{split}list03.txt" for split in SPLITS}))


def test_a_set_named_by_its_files_has_no_list_to_fetch() -> None:
    with pytest.raises(DataError, match="HMDB51 needs no list"):
        lists.fetch(benchmark("hmdb51"))
