"""DICOM files byte by byte, as programs write them that no library here imitates."""

import struct

from diffunet.conversion.dicom_header import Header

IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_UNDEFINED = 0xFFFFFFFF


def element(
    group: int, number: int, kind: str, value: bytes, *, order: str, is_explicit: bool
) -> bytes:
    """Return an element of the short form."""
    value += b"\0" * (len(value) % 2)
    tag = struct.pack(f"{order}HH", group, number)
    if is_explicit:
        return tag + kind.encode() + struct.pack(f"{order}H", len(value)) + value
    return tag + struct.pack(f"{order}I", len(value)) + value


def sequence(
    group: int, number: int, inside: bytes, *, order: str, is_explicit: bool, is_defined: bool
) -> bytes:
    """Return a sequence of one item, of a defined length or up to its delimiters."""
    item = struct.pack(f"{order}HHI", 0xFFFE, 0xE000, len(inside) if is_defined else _UNDEFINED)
    item += inside
    if not is_defined:
        item += struct.pack(f"{order}HHI", 0xFFFE, 0xE00D, 0)
        item += struct.pack(f"{order}HHI", 0xFFFE, 0xE0DD, 0)
    length = struct.pack(f"{order}I", len(item) if is_defined else _UNDEFINED)
    kind = b"SQ\0\0" if is_explicit else b""
    return struct.pack(f"{order}HH", group, number) + kind + length + item


def dicom_bytes(
    header: Header,
    *,
    syntax: str = IMPLICIT,
    is_defined: bool = True,
    has_start: bool = True,
    private: bytes = b"",
) -> bytes:
    """Return a file without an image, which refers to another series in a sequence."""
    order, is_explicit = ">" if syntax == _BIG_ENDIAN else "<", syntax not in (IMPLICIT, "")

    def text(group: int, number: int, kind: str, value: str) -> bytes:
        return element(group, number, kind, value.encode(), order=order, is_explicit=is_explicit)

    other = text(0x0020, 0x000E, "UI", "9.9.9")
    reference = sequence(
        0x0008, 0x1115, other, order=order, is_explicit=is_explicit, is_defined=is_defined
    )
    start = b""
    if has_start:
        start = b"\0" * 128 + b"DICM"
        if syntax:
            syntax_of = element(2, 0x10, "UI", syntax.encode(), order="<", is_explicit=True)
            start += syntax_of
    return (
        start
        + text(0x0008, 0x0018, "UI", header.instance)
        + text(0x0008, 0x0060, "CS", header.modality)
        + reference
        + private
        + text(0x0010, 0x0020, "LO", header.patient)
        + text(0x0020, 0x000E, "UI", header.series)
        + text(0x0040, 0xA040, "CS", "CONTAINER")
    )
