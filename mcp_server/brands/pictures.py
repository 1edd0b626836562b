"""A picture is SVG that can draw and do nothing else: an allow-list of elements and attributes, nothing referenced."""

import re
from xml.parsers import expat

from mcp_server.brands.invalid import BrandPackInvalid
from mcp_server.brands.plain_text import check_text

PICTURE_BYTES_MAX = 2_048  # forty of them still fit in one tool result

_NAMESPACE = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset({
    "svg", "title", "defs", "g", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon",
    "linearGradient", "radialGradient", "stop", "clipPath", "pattern",
})  # fmt: skip
_ATTRIBUTES = frozenset({
    "id", "role", "viewBox", "width", "height", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry",
    "d", "points", "transform", "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity",
    "stroke-linecap", "stroke-linejoin", "stroke-dasharray", "opacity", "offset", "stop-color", "stop-opacity",
    "gradientUnits", "gradientTransform", "patternUnits", "patternTransform", "clip-path",
})  # fmt: skip
_VALUE = re.compile(r"[A-Za-z0-9#%.,\s()-]*\Z")  # no colon, slash, quote, ampersand or backslash: no address fits in it
_LOCAL_REFERENCE = re.compile(r"url\(#[a-z]+\)\Z")


def check_picture(content: bytes, *, file: str) -> None:
    """Raise `BrandPackInvalid` unless `content` is a small, self-contained, titled SVG drawing."""
    if len(content) > PICTURE_BYTES_MAX:
        raise BrandPackInvalid(file, "size", f"{len(content)} bytes, more than {PICTURE_BYTES_MAX}")
    try:
        check_text(content.decode("utf-8"), file=file, field="text")
    except UnicodeDecodeError:
        raise BrandPackInvalid(file, "text", "not UTF-8") from None
    reading = _Reading(file)
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.StartElementHandler = reading.element
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.characters
    parser.StartDoctypeDeclHandler = reading.doctype
    parser.ProcessingInstructionHandler = reading.instruction
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise BrandPackInvalid(file, "svg", f"not well-formed XML: {error}") from None
    if not reading.title.strip():
        raise BrandPackInvalid(file, "title", "missing: people who cannot see the picture read its title")


class _Reading:
    """What expat calls while it reads one picture; the first fault ends the reading."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.title = ""
        self._open: list[str] = []

    def element(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if namespace != _NAMESPACE or local not in _ELEMENTS:
            raise BrandPackInvalid(self.file, local, "element is not allowed in a picture")
        if not self._open and (local != "svg" or "viewBox" not in attributes):
            raise BrandPackInvalid(self.file, local, "the outermost element is an svg with a viewBox")
        self._open.append(local)
        for attribute, value in attributes.items():
            self._check_attribute(f"{local}.{attribute.rpartition(' ')[2]}", attribute, value)

    def end(self, _: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        if self._open[-1] == "title":
            self.title += text
        elif text.strip():
            raise BrandPackInvalid(self.file, self._open[-1], "only the title holds text")

    def doctype(self, *_: object) -> None:
        raise BrandPackInvalid(self.file, "doctype", "document types and entities are not allowed")

    def instruction(self, target: str, _: str) -> None:
        raise BrandPackInvalid(self.file, target, "processing instructions are not allowed")

    def _check_attribute(self, field: str, attribute: str, value: str) -> None:
        if attribute.rpartition(" ")[2] == "href":
            raise BrandPackInvalid(self.file, field, "references are not allowed in a picture")
        if attribute.lower().startswith("on"):
            raise BrandPackInvalid(self.file, field, "event handlers are not allowed in a picture")
        if attribute not in _ATTRIBUTES:
            raise BrandPackInvalid(self.file, field, "attribute is not allowed in a picture")
        if not _VALUE.match(value) or ("url" in value.lower() and not _LOCAL_REFERENCE.match(value)):
            raise BrandPackInvalid(self.file, field, "value is not plain drawing data")
