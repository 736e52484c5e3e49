"""Whether a file is unchanged: by size and time and, if only the time differs, by content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

_BYTES_AT_ONCE = 2**20


@dataclass(frozen=True, kw_only=True)
class FileState:
    """What a file was.

    Attributes:
        modified_ns: when it was last written, in nanoseconds since 1970; None if the time should
            not count, so that two runs leave the same records.
        digest: 16 hexadecimal digits of all its content (BLAKE2b).
    """

    num_bytes: int
    modified_ns: int | None
    digest: str

    @classmethod
    def of(cls, path: Path, *, has_time: bool) -> "FileState":
        """Return the state of a file, which is read.

        Raises:
            OSError: it cannot be read.
        """
        status = path.stat()
        return cls(
            num_bytes=status.st_size,
            modified_ns=status.st_mtime_ns if has_time else None,
            digest=_digest_of(path),
        )

    def has_size_of(self, path: Path) -> bool:
        """Whether `path` is there and as long as the file was."""
        try:
            return path.stat().st_size == self.num_bytes
        except OSError:
            return False

    def is_of(self, path: Path) -> bool:
        """Whether `path` holds the same content; it is read only if its time differs."""
        try:
            status = path.stat()
            if status.st_size != self.num_bytes:
                return False
            return status.st_mtime_ns == self.modified_ns or _digest_of(path) == self.digest
        except OSError:
            return False


def _digest_of(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        while part := file.read(_BYTES_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()
