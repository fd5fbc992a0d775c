"""ELAN documents (EAF, XML): tiers of annotations between time slots.

By the schema EAFv3.0.xsd and its description, https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf.
Times are whole milliseconds; old files may count frames of NTSC or PAL. A tier belongs to a participant or stands for a
set of labels; its annotations do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from kshot.datasets.annotations.forms import Annotations, Film, Segment, Source, number
from kshot.datasets.annotations.places import Places
from kshot.errors import DataError

UNITS = {"": 0.001, "milliseconds": 0.001, "NTSC-frames": 1001 / 30000, "PAL-frames": 1 / 25}
"""Seconds a unit of time."""
TIER = "actions"
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


def mine(source: Source) -> bool:
    """Whether it is a document of ELAN."""
    return source.kind == "xml" and source.value.tag == "ANNOTATION_DOCUMENT"


def read(source: Source, places: Places) -> Annotations:
    """Annotations with times of their own; the value is the label, or the tier's name where a tier has no values."""
    root, name, said = source.value, source.path.name, Annotations()
    header = root.find("HEADER")
    units = "" if header is None else header.get("TIME_UNITS", "")
    if units not in UNITS:
        raise DataError(f"{name} counts time in '{units}': expected one of {', '.join(filter(None, UNITS))}")
    video, origin = _video(root, said, places)
    times = {
        slot.get("TIME_SLOT_ID"): number(slot.get("TIME_VALUE"), f"{name}: TIME_VALUE") * UNITS[units] + origin
        for slot in root.iterfind("TIME_ORDER/TIME_SLOT")
        if slot.get("TIME_VALUE") is not None
    }
    tiers = [tier for tier in root.iterfind("TIER") if tier.find("ANNOTATION") is not None]
    persons = any("PARTICIPANT" in tier.attrib for tier in tiers)
    said.films[video] = Film()
    for tier in tiers:
        own = tier.get("TIER_ID", "")
        subject = tier.get("PARTICIPANT", "") if persons else own * (len(tiers) > 1)
        found = tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION")
        valued = any((one.findtext("ANNOTATION_VALUE") or "").strip() for one in found)
        for _ in tier.iterfind("ANNOTATION/REF_ANNOTATION"):
            said.leave("annotation of another annotation", "not kept: they have no time of their own", f"tier '{own}'")
        for one in found:
            label = " ".join((one.findtext("ANNOTATION_VALUE") or "").split()) if valued else own
            start, end = (times.get(one.get(f"TIME_SLOT_REF{side}")) for side in (1, 2))
            if start is None or end is None:
                said.leave("annotation", "left out: not aligned with the time", f"'{label}' of tier '{own}'")
            elif not label:
                said.leave("annotation", "without a value left out", f"at {start:g} s of tier '{own}'")
            else:
                said.segments.append(Segment(video, start, end, label, subject=subject))
    return said


def _video(root: Element, said: Annotations, places: Places) -> tuple[str, float]:
    """The path of the first video, and the second of it at which the document's time begins."""
    media = [one for one in root.iterfind("HEADER/MEDIA_DESCRIPTOR") if "audio" not in one.get("MIME_TYPE", "")]
    for other in media[1:]:
        said.leave("further video", "not kept: segments are of the first", other.get("MEDIA_URL", ""))
    if not media:
        return places.only(), 0.0
    paths = [one for one in (media[0].get("RELATIVE_MEDIA_URL"), media[0].get("MEDIA_URL")) if one]
    there = [path for path in paths if places.find(path)]
    origin = number(media[0].get("TIME_ORIGIN", "0"), f"{places.source.name}: TIME_ORIGIN") / 1000
    return (there or paths or [places.only()])[0], origin


def write(said: Annotations) -> str:
    """A document of one video: a tier for each subject, and further ones for what overlaps."""
    videos = list(dict.fromkeys([*(segment.path for segment in said.segments), *said.films]))
    root = Element("ANNOTATION_DOCUMENT", {
        "AUTHOR": "kshot", "DATE": "2000-01-01T00:00:00+00:00", "FORMAT": "3.0", "VERSION": "3.0",
        "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance", "xsi:noNamespaceSchemaLocation": SCHEMA,
    })  # fmt: skip
    header = SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    for video in videos:
        kind = {".mov": "quicktime", ".webm": "webm", ".avi": "x-msvideo", ".mkv": "x-matroska"}
        absolute = PurePath(video).is_absolute()
        SubElement(header, "MEDIA_DESCRIPTOR", {
            "MEDIA_URL": PurePath(video).as_uri() if absolute else f"./{video}",
            "MIME_TYPE": f"video/{kind.get(PurePath(video).suffix.lower(), 'mp4')}",
            **({} if absolute else {"RELATIVE_MEDIA_URL": f"./{video}"}),
        })  # fmt: skip
    order = SubElement(root, "TIME_ORDER")
    tiers = _tiers(said.segments)
    inner = [segment for *_, segments in tiers for segment in segments]
    times = ((value, count, side) for count, one in enumerate(inner) for side, value in enumerate((one.start, one.end)))
    slot_of: dict[tuple[int, int], str] = {}
    # ELAN wants slots in the order of time, and none of two annotations: who moves the one would move the other.
    for time, *whose in sorted((round(1000 * (value or 0)), *whose) for value, *whose in times):
        slot_of[whose[0], whose[1]] = name = f"ts{len(slot_of) + 1}"
        SubElement(order, "TIME_SLOT", TIME_SLOT_ID=name, TIME_VALUE=str(time))
    count = 0
    for name, subject, segments in tiers:
        tier = SubElement(root, "TIER", {
            "LINGUISTIC_TYPE_REF": "action", "TIER_ID": name, "PARTICIPANT": subject, "ANNOTATOR": "kshot",
        })  # fmt: skip
        for segment in segments:
            one = SubElement(SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", {
                "ANNOTATION_ID": f"a{count + 1}",
                "TIME_SLOT_REF1": slot_of[count, 0], "TIME_SLOT_REF2": slot_of[count, 1],
            })  # fmt: skip
            SubElement(one, "ANNOTATION_VALUE").text = segment.label
            count += 1
    SubElement(root, "LINGUISTIC_TYPE", {
        "GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "action", "TIME_ALIGNABLE": "true",
    })  # fmt: skip
    indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, "unicode") + "\n"


def _tiers(segments: Sequence[Segment]) -> list[tuple[str, str, list[Segment]]]:
    """(name, subject, segments that do not overlap) of each tier."""
    tiers: list[tuple[str, str, list[Segment]]] = []
    for segment in sorted(segments, key=lambda one: (one.start or 0.0, one.end or 0.0)):
        mine = [tier for tier in tiers if tier[1] == segment.subject]
        start = round(segment.start or 0.0, 3)  # as it is written
        free = next((tier for tier in mine if round(tier[2][-1].end or 0.0, 3) <= start), None)
        if free is None:
            base = segment.subject or TIER
            name = f"{base} {len(mine) + 1}" if mine else base
            while any(tier[0] == name for tier in tiers):
                name += "'"
            free = (name, segment.subject, [])
            tiers.append(free)
        free[2].append(segment)
    return tiers
