"""Damage to files: of any bytes, of JSON, of preprocessed data with their checksums made right."""

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import torch

Mutation = Callable[[bytes, random.Random], bytes]

_STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    10**30,
    1e308,
    -0.5,
    "",
    "../../outside",
    "/outside",
    "a" * 5000,
    "\u202e\x00",
    "é",
    [],
    {},
    [[]] * 3,
    {"": None},
)
_SHARD, _BLOCKS = struct.Struct("<IQ8s"), struct.Struct("<III8s")


def bytes_changed(content: bytes, draw: random.Random) -> bytes:
    """Flip bits, overwrite, cut, double, insert: one to four times."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4))):
        place = draw.randrange(len(changed) + 1)
        length = min(draw.choice((1, 1, 4, 8, 64)), len(changed) - place)
        kind = draw.randrange(6)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[place : place + length] = draw.randbytes(length)
        elif kind == 2:
            changed[place : place + length] = draw.choice((b"\0", b"\xff", b"\x7f")) * length
        elif kind == 3:
            del changed[place:]
        elif kind == 4:
            changed[place:place] = changed[place : place + 64]
        else:
            del changed[place : place + length]
    return bytes(changed)


def json_changed(content: bytes, draw: random.Random) -> bytes:
    """Put something strange in the place of a value, a key or all of it; or nest without end."""
    tree = [json.loads(content)]
    for _ in range(draw.choice((1, 1, 2))):
        places = list(_places(tree))
        holder, key = draw.choice(places)
        strange = copy.deepcopy(draw.choice(_STRANGE))
        kind = draw.randrange(5)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[str(strange)] = holder.pop(key)
        elif kind == 2:
            other = draw.choice(places)
            holder[key] = copy.deepcopy(other[0][other[1]])
        elif kind == 3 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * draw.choice((-1, 2, 1000, 1e18)) + draw.choice((0, 1))
        else:
            holder[key] = strange
    text = json.dumps(tree[0] if tree else None)
    if draw.random() < 0.05:
        text = draw.choice(("[" * 10**5, "9" * 5000, "1e999", "NaN", '{"a":' * 500, '"\\ud800"'))
    return text.encode("utf-8", "surrogatepass")


def lines_of_json_changed(content: bytes, draw: random.Random) -> bytes:
    """Change one line as `json_changed` does."""
    lines = content.splitlines()
    number = draw.randrange(len(lines))
    lines[number] = json_changed(lines[number], draw)
    return b"\n".join(lines) + b"\n"


def table_changed(content: bytes, draw: random.Random) -> bytes:
    """Change a cell or a separator, or repeat a line."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = draw.choice(rows)
    strange = ("", '"', "\0", "-1", "1e999", "2", "../x", "a" * 5000, "\n\n", ";", "é", "\u202e")
    row[draw.randrange(len(row))] = draw.choice(strange)
    if draw.random() < 0.3:
        rows.insert(draw.randrange(len(rows)), draw.choice(rows))
    if draw.random() < 0.1:
        row.append("more")
    encoding = draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return "\n".join(map(",".join, rows)).encode(encoding, "ignore")


def shard_forged(content: bytes, draw: random.Random) -> bytes:
    """Change the index of a shard, or compressed bytes, and make every checksum right."""
    _, length, magic = _SHARD.unpack(content[-_SHARD.size :])
    data, text = content[: -_SHARD.size - length], content[-_SHARD.size - length : -_SHARD.size]
    if draw.random() < 0.5:
        index = json.loads(text)
        entry = draw.choice([a for case in index.values() for a in case["arrays"].values()])
        end = entry["offset"] + entry["num_bytes"]
        block = _same_length(data[entry["offset"] : end], draw)
        data = data[: entry["offset"]] + block + data[end:]
        entry["checksum"] = zlib.crc32(block)
        text = json.dumps(index).encode()
    else:
        text = json_changed(text, draw)
    return data + text + _SHARD.pack(zlib.crc32(text), len(text), magic)


def blocks_forged(content: bytes, draw: random.Random) -> bytes:
    """The same for the file of a large array."""
    _, number, length, magic = _BLOCKS.unpack(content[-_BLOCKS.size :])
    end = len(content) - _BLOCKS.size
    start = end - length - 8 * number
    data, table = content[:start], bytearray(content[start : end - length])
    text = content[end - length : end]
    if draw.random() < 0.5:
        which = draw.randrange(number)
        lengths = [struct.unpack_from("<I", table, 8 * i)[0] for i in range(number)]
        first = sum(lengths[:which])
        block = _same_length(data[first : first + lengths[which]], draw)
        data = data[:first] + block + data[first + lengths[which] :]
        struct.pack_into("<I", table, 8 * which + 4, zlib.crc32(block))
    else:
        text = json_changed(text, draw)
        table = table if draw.random() < 0.8 else bytearray(draw.randbytes(len(table)))
    index = bytes(table) + text
    return data + index + _BLOCKS.pack(zlib.crc32(index), len(table) // 8, len(text), magic)


def archive_forged(content: bytes, draw: random.Random) -> bytes:
    """Change one record of a checkpoint, most often its pickle, and make the checksum right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    pickles = [name for name in records if name.endswith("data.pkl")]
    name = draw.choice(pickles * 8 + list(records))
    records[name] = bytes_changed(records[name], draw)
    written = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if draw.random() < 0.05 else zipfile.ZIP_STORED
    with zipfile.ZipFile(written, "w", method) as archive:
        for each, record in records.items():
            archive.writestr(each, record)
    return written.getvalue()


def content_forged(content: bytes, draw: random.Random) -> bytes:
    """Put something strange in the place of a value or a tensor of a checkpoint."""
    tree = torch.load(io.BytesIO(content), weights_only=True)
    holder, key = draw.choice(list(_places(tree)))
    old = holder[key]
    if isinstance(old, torch.Tensor) and draw.random() < 0.7:
        holder[key] = draw.choice(
            (
                old * float("nan"),
                old.to(torch.int8),
                old.to(torch.complex64),
                old.reshape(-1)[:0],
                old.reshape(-1),
            )
        )
    elif draw.random() < 0.3:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(draw.choice(_STRANGE[:7] + _STRANGE[7:]))
    written = io.BytesIO()
    torch.save(tree, written)
    return written.getvalue()


def _same_length(block: bytes, draw: random.Random) -> bytes:
    changed = bytearray(block)
    for _ in range(draw.choice((1, 2, 8))):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _places(tree: Any) -> Any:
    """Yield every (holder, key or index) of a tree of lists and dictionaries."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(pairs):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)
