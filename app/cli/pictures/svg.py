"""An SVG that can be read aloud, pointed at, and shown under a policy that forbids inline styles."""

import re
from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree as ET

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
MARKS = frozenset({f"{{{SVG}}}use", f"{{{SVG}}}path"})
FONT_SIZE = re.compile(r"([\d.]+)px")
FALLBACKS = ", Verdana, sans-serif"


def accessible(drawn: bytes, title: str, about: str, tips: Mapping[str, Sequence[str]]) -> str:
    """The library's SVG with a title, a description and tooltips, and with attributes in place of styles.

    Args:
        drawn: as the library wrote it.
        title: of the whole picture.
        about: what it shows.
        tips: by the id of a group, a text for each mark in it.
    """
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(drawn)  # noqa: S314 (drawn a moment ago, by ourselves)
    _drop(root, f"{{{SVG}}}metadata")
    _drop(root, f"{{{SVG}}}style")
    root.attrib.update({"role": "img", "stroke-linejoin": "round", "stroke-linecap": "butt"})
    for name, text in (("desc", about), ("title", title)):
        said = ET.Element(f"{{{SVG}}}{name}")
        said.text = text
        root.insert(0, said)
    for element in root.iter():
        _unstyle(element)
    for group in root.iter(f"{{{SVG}}}g"):
        if (name := group.get("id", "")) in tips:
            _point_at(group, tips[name])
    return ET.tostring(root, encoding="unicode") + "\n"


def _drop(root: ET.Element, tag: str) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == tag]:
            parent.remove(child)


def _unstyle(element: ET.Element) -> None:
    """Each declaration of a style becomes an attribute of the same name; the two mean the same in SVG."""
    said = element.attrib.pop("style", "")
    for part in filter(None, (each.strip() for each in said.split(";"))):
        name, _, value = part.partition(":")
        element.attrib.update(_attributes(name.strip(), value.strip()))


def _attributes(name: str, value: str) -> Iterator[tuple[str, str]]:
    """``font`` is the one shorthand that has no attribute of its own: ``bold 14px 'DejaVu Sans', …``."""
    if name != "font":
        yield name, value + (FALLBACKS if name == "font-family" else "")
        return
    size = FONT_SIZE.search(value)
    if size is None:
        raise ValueError(f"a font without a size: {value!r}")
    for word in value[: size.start()].split():
        yield ("font-style" if word in {"italic", "oblique"} else "font-weight"), word
    yield "font-size", size.group()
    yield "font-family", value[size.end() :].strip() + FALLBACKS


def _point_at(group: ET.Element, tips: Sequence[str]) -> None:
    drawn = [each for parent in group.iter() if not parent.tag.endswith("defs") for each in parent if each.tag in MARKS]
    definitions = {each for parent in group.iter(f"{{{SVG}}}defs") for each in parent}
    marks = [each for each in drawn if each not in definitions]
    for mark, text in zip(marks, tips, strict=True):
        title = ET.SubElement(mark, f"{{{SVG}}}title")
        title.text = text
