"""A file in, its bytes in order out, decompressed where they are gzip, and the sha256 of the file as it passed.

Python's `gzip` reads pieces of 8 KB, cannot say what the compressed bytes were, and a hash for the provenance would read the file
again. A member's CRC and length are checked by zlib; a file may have several members.
"""

import hashlib
import zlib
from typing import Any, BinaryIO

_CHUNK = 1 << 17  # of the file, in bytes: larger chunks leave the processor's cache
_GZIP = 16 + zlib.MAX_WBITS  # zlib then checks each member's CRC and length
_GZIP_MAGIC = b"\x1f\x8b"


class ByteSource:
    """The bytes of a binary stream, plain or gzip, in order.

    Raises
    ------
    EOFError, zlib.error
        From every method, when compressed data end too early or are damaged.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._sha256 = stream, hashlib.sha256()
        self._pending = self._read()
        self._inflate: Any = zlib.decompressobj(_GZIP) if self._pending.startswith(_GZIP_MAGIC) else None

    def fill(self, view: memoryview) -> int:
        """Write the next bytes into `view`; return how many there were, fewer than its length at the end."""
        filled = 0
        while filled < len(view):
            piece = self._next(len(view) - filled)
            if not piece:
                break
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def drain(self) -> str:
        """Read to the end, which checks the last gzip member, and return the sha256 of the file."""
        while self._next(_CHUNK):
            pass
        return self._sha256.hexdigest()

    def _next(self, most: int) -> bytes:
        if self._inflate is None:
            piece, self._pending = self._pending[:most], self._pending[most:] or self._read()
            return piece
        while True:
            if self._inflate.eof and not self._begin_member():
                return b""
            if not self._pending:
                self._pending = self._read()
                if not self._pending:
                    raise EOFError("the compressed data end too early")
            piece = self._inflate.decompress(self._pending, most)
            self._pending = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if piece:
                return bytes(piece)

    def _begin_member(self) -> bool:
        """Begin the next gzip member, if one follows; zeros may fill up the file behind the last."""
        while not (rest := self._pending.lstrip(b"\0")):
            self._pending = self._read()
            if not self._pending:
                return False
        self._pending = rest
        self._inflate = zlib.decompressobj(_GZIP)
        return True

    def _read(self) -> bytes:
        chunk = self._stream.read(_CHUNK)
        self._sha256.update(chunk)
        return chunk
