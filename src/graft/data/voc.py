"""Pascal VOC: a folder ``Annotations`` with an XML file per picture, beside a folder ``JPEGImages``."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from graft.core.errors import DataError
from graft.data.annotated_pictures import Found, Object, Picture, missing
from graft.data.image import SUFFIXES

PICTURES = ("JPEGImages", "images", ".")  # folders in which the pictures may lie
EDGES = ("xmin", "ymin", "xmax", "ymax")


def is_voc(folder: Path) -> bool:
    """Whether a folder holds ``Annotations`` with XML files, or pictures with XML files beside them."""
    if (folder / "Annotations").is_dir():
        return any((folder / "Annotations").glob("*.xml"))
    first = next(iter(sorted(folder.glob("*.xml"))), None)
    return first is not None and any(first.with_suffix(suffix).is_file() for suffix in SUFFIXES)


def parse(path: Path) -> Element:
    """Read an XML file without document types: no entity is ever expanded and nothing is fetched.

    Raises:
        DataError: It is no XML, or declares a document type.
    """
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise DataError(
            "the XML declares a document type, which is not read", where=path.name, hint="remove the DOCTYPE"
        )

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise DataError(f"invalid XML: {error}", where=path.name) from None
    return builder.close()


def read_voc(folder: Path) -> Found:
    """Read a folder; pictures without an annotation are background, with a note.

    Corners are pixels counted from 1, both inside of the box: the left edge is ``xmin`` - 1, the right one ``xmax``.
    """
    notes_of = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    files = sorted(notes_of.glob("*.xml"))
    places = [folder / name for name in PICTURES if (folder / name).is_dir()]
    known = {
        path.name: path for place in reversed(places) for path in place.iterdir() if path.suffix.lower() in SUFFIXES
    }
    by_stem = {Path(name).stem: path for name, path in known.items()}
    pictures = [_picture(path, known, by_stem) for path in files]
    used = {one.source for one in pictures}
    alone = [path for path in sorted(known.values()) if path not in used]
    pictures += [Picture(path, path.name) for path in alone]
    more = f"{len(alone)} picture(s) without an annotation file are background" if alone else ""
    return Found(pictures, (), folder.name, folder.name, notes=(more,) if more else ())


def _picture(path: Path, known: dict[str, Path], by_stem: dict[str, Path]) -> Picture:
    try:
        root = parse(path)
    except DataError as error:
        return Picture(path, path.name, fault=error.what)
    named = (root.findtext("filename") or "").strip()
    source = known.get(named) or by_stem.get(path.stem) or path.with_name(named or f"{path.stem}.jpg")
    objects = []
    for one in root.iter("object"):
        edges = [(one.findtext(f"bndbox/{edge}") or "").strip() for edge in EDGES]
        label = (one.findtext("name") or "").strip()
        if not label:
            return Picture(source, path.name, fault="an object has no name")
        try:
            left, top, right, bottom = map(float, edges)
        except ValueError:
            return Picture(source, path.name, fault=f"{label!r} has no bndbox of four numbers")
        # shares of width and height stay as they are, so that they are told from pixels
        from_one = 0.0 if max(left, top, right, bottom) <= 1 else 1.0
        objects.append(Object(label, (left - from_one, top - from_one, right, bottom), path.name))
    return Picture(source, path.name, objects, missing(source))
