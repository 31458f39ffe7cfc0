from __future__ import annotations

import struct
from typing import Final

PREFIX: Final = b"Exif\x00\x00"
_ORDERS: Final = {b"II*\x00": "<", b"MM\x00*": ">"}
_ORIENTATION: Final = 0x0112
_SHORT: Final = 3
_ENTRY: Final = 12


def orientation(block: memoryview) -> int:
    """The orientation 1 to 8 of an EXIF block, with or without its `Exif` prefix; 1 when it does not tell."""
    tiff = block[len(PREFIX) :] if bytes(block[: len(PREFIX)]) == PREFIX else block
    order = _ORDERS.get(bytes(tiff[:4]))
    if order is None:
        return 1
    try:
        return _first_directory(tiff, order)
    except struct.error:
        return 1


def _first_directory(tiff: memoryview, order: str) -> int:
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    for at in range(start + 2, start + 2 + count * _ENTRY, _ENTRY):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == _ORIENTATION:
            (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), tiff, at + 8)
            return int(value) if value in range(1, 9) else 1
    return 1
