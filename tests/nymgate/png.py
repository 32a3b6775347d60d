"""Pictures of pages with fewer bytes: PNG with a palette, which plain areas and grey letters do not miss."""

import struct
import zlib
from collections import Counter

MOST_COLOURS = 255


def chunks(data):
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def rows_of(data):
    """Width, bytes a pixel, and the rows of a picture with 8 bits a channel."""
    parts = list(chunks(data))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    assert (depth, interlaced) == (8, 0)
    size = {2: 3, 6: 4}[kind]
    raw = zlib.decompress(b"".join(body for name, body in parts if name == b"IDAT"))
    rows, before = [], bytearray(width * size)
    for number in range(height):
        start = number * (width * size + 1)
        row = bytearray(raw[start + 1 : start + 1 + width * size])
        undo(raw[start], row, before, size)
        rows.append(row)
        before = row
    return width, size, rows


def undo(kind, row, before, size):
    """PNG's filters, in place."""
    for at in range(len(row)):
        left = row[at - size] if at >= size else 0
        up = before[at]
        corner = before[at - size] if at >= size else 0
        if kind == 1:
            row[at] = (row[at] + left) & 255
        elif kind == 2:
            row[at] = (row[at] + up) & 255
        elif kind == 3:
            row[at] = (row[at] + (left + up) // 2) & 255
        elif kind == 4:
            guess = left + up - corner
            far = abs(guess - left), abs(guess - up), abs(guess - corner)
            row[at] = (row[at] + (left, up, corner)[far.index(min(far))]) & 255
        elif kind == 0:
            return


def smaller(data):
    """The same picture with a palette; colours that are rare become their nearest neighbours."""
    width, size, rows = rows_of(data)
    lines = [[tuple(row[at : at + 3]) for at in range(0, len(row), size)] for row in rows]
    counted = Counter(colour for line in lines for colour in line)
    palette = [colour for colour, _ in counted.most_common(MOST_COLOURS)]
    index = {colour: number for number, colour in enumerate(palette)}
    for colour in counted:
        if colour not in index:
            index[colour] = min(
                range(len(palette)),
                key=lambda n: sum((a - b) ** 2 for a, b in zip(colour, palette[n], strict=True)),
            )
    body = b"".join(b"\0" + bytes(index[colour] for colour in line) for line in lines)
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)
    made = [(b"IHDR", head), (b"PLTE", bytes(part for colour in palette for part in colour))]
    made += [(b"IDAT", zlib.compress(body, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in made
    )
