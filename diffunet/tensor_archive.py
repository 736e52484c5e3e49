"""Read files of `torch.save` without running their code or trusting the sizes that they declare.

The file is a zip archive: a pickle of the content, and for each tensor a record of its bytes.
`torch.load` refuses foreign code, but takes the sizes in the pickle at their word, unpacks
compressed records whole, and compares no checksums. Here a tensor is what its record holds, no
record is larger than the file, and each is compared with its checksum.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from diffunet.errors import lacks_memory

_MAX_DEPTH = 64
_MAX_VALUES = 10**6
_MAX_PICKLE_BYTES = 2**24  # each may make an object of 64 bytes
_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


def read_tensor_archive(path: Path) -> Any:
    """Return the content of the file: tensors on the CPU, plain values, and containers of these.

    Dictionaries of any kind come back as `dict`. Takes about twice the memory of the file's size.

    Raises:
        ValueError: it is no such file, it is damaged, or it declares more than it holds.
        OSError, MemoryError: it cannot be read.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            records = _Records(archive, size)
            return _plain(_Unpickler(io.BytesIO(records.pickle())).load(), records, [0])
    except (OSError, MemoryError):
        raise
    except RecursionError:
        raise ValueError("its values are nested without end") from None
    except Exception as cause:  # whatever a stream of chance bytes can make of pickle and zipfile
        if lacks_memory(cause):
            raise MemoryError(str(cause)) from cause
        raise ValueError(f"{cause or type(cause).__name__}") from None


class _Storage(NamedTuple):
    """The record of a tensor, which many tensors may share."""

    key: str
    dtype: torch.dtype
    num_values: int


class _Stored(NamedTuple):
    """A tensor that is still in the archive; what is unpickled cannot change a tuple."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@final
class _Records:
    """The records of the archive: stored as they are, together no larger than the file."""

    def __init__(self, archive: zipfile.ZipFile, size: int):
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its records are compressed, which torch.save never does")
        if sum(max(entry.file_size, entry.compress_size) for entry in entries) > size:
            raise ValueError(f"its records declare more than the {size} bytes of the file")
        self._archive = archive
        self._names = {entry.filename.partition("/")[2]: entry.filename for entry in entries}
        self._values: dict[str, tuple[_Storage, Tensor]] = {}
        if self._names.get("byteorder") and self.read("byteorder") != b"little":
            raise ValueError("its numbers are big-endian")

    def read(self, name: str) -> bytes:
        """Return a record; zipfile compares its checksum."""
        if name not in self._names:
            raise ValueError(f"the record '{name}' is missing")
        return self._archive.read(self._names[name])

    def pickle(self) -> bytes:
        """Return the pickle of the content."""
        content = self.read("data.pkl")
        if len(content) > _MAX_PICKLE_BYTES:
            raise ValueError(f"its pickle has {len(content)} bytes, most of which are no tensors")
        return content

    def tensor(self, stored: _Stored) -> Tensor:
        """Return a tensor that lies wholly in its record."""
        storage, offset, shape, stride = stored
        first, values = self._values.setdefault(storage.key, (storage, self._content_of(storage)))
        if first != storage:
            raise ValueError(f"the record 'data/{storage.key}' is taken for two kinds of numbers")
        if math.prod(shape) > storage.num_values or _end(stored) > storage.num_values:
            raise ValueError(f"a tensor of {list(shape)} does not fit into its record")
        return values.as_strided(shape, stride, offset)

    def _content_of(self, storage: _Storage) -> Tensor:
        if storage.key in self._values:
            return self._values[storage.key][1]
        content = bytearray(self.read(f"data/{storage.key}"))
        if len(content) != storage.num_values * storage.dtype.itemsize:
            raise ValueError(
                f"the record 'data/{storage.key}' has {len(content)} bytes, expected "
                f"{storage.num_values} values of {storage.dtype}"
            )
        if not content:
            return torch.empty(0, dtype=storage.dtype)
        return torch.frombuffer(content, dtype=storage.dtype).clone()  # in torch's own memory


def _end(stored: _Stored) -> int:
    """Return the number of values of a record up to the last one of a tensor."""
    if 0 in stored.shape:
        return stored.offset
    steps = zip(stored.shape, stored.stride, strict=True)
    return stored.offset + 1 + sum((size - 1) * step for size, step in steps)


def _rebuilt(
    storage: Any, offset: Any, shape: Any, stride: Any, _requires_grad: Any, _hooks: Any, *_: Any
) -> _Stored:
    """Stand in for `torch._utils._rebuild_tensor_v2`."""
    numbers = (offset, *shape, *stride)
    if type(storage) is not _Storage or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("a tensor is described by something other than sizes")
    if len(shape) != len(stride) or len(shape) > _MAX_DEPTH:
        raise ValueError(f"a tensor has {len(shape)} sizes and {len(stride)} strides")
    return _Stored(storage, offset, tuple(shape), tuple(stride))


def _rebuilt_parameter(data: Any, _requires_grad: Any, _hooks: Any) -> Any:
    """Stand in for `torch._utils._rebuild_parameter`."""
    return data


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Knows the few names that a checkpoint needs, and gives stand-ins for them.

    It is the one in Python: that in C takes memory for whatever the stream announces.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuilt_parameter
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise ValueError(f"it holds '{module}.{name}', which is neither tensor nor plain value")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, num_values = pid
        is_sound = type(key) is str and type(num_values) is int and num_values >= 0
        if kind != "storage" or type(dtype) is not torch.dtype or not is_sound:
            raise ValueError("a record is described by something other than its name and size")
        return _Storage(key, dtype, num_values)


def _plain(value: Any, records: _Records, count: list[int], depth: int = 0) -> Any:
    """Return `value` with tensors for their descriptions, and with containers of plain types."""
    count[0] += 1
    if count[0] > _MAX_VALUES or depth > _MAX_DEPTH:
        raise ValueError(f"it holds more than {_MAX_VALUES} values, or these are nested too deep")
    if value is None or type(value) in (bool, str, float):
        return value
    if type(value) is int:
        if not -(2**63) <= value < 2**64:
            raise ValueError("it holds a number of more than 64 bits")
        return value
    if type(value) is _Stored:
        return records.tensor(value)
    if type(value) in (list, tuple):
        return type(value)(_plain(each, records, count, depth + 1) for each in value)
    if type(value) in (dict, OrderedDict):
        return {
            _plain(key, records, count, depth + 1): _plain(each, records, count, depth + 1)
            for key, each in dict.items(value)
        }
    raise ValueError(f"it holds a {type(value).__name__}")
