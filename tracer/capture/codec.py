"""How a block's content is made smaller, and back again: by zstd, or not at all.

zstandard is imported when something is compressed or read: whoever does neither needs no memory for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hangup.tracer.capture.format import Codec, FormatError
from hangup.tracer.errors import HangupError

if TYPE_CHECKING:
    from types import ModuleType

# Of the classic connection's operations it makes 18 bytes each, and the next levels, which take longer, 17.
_LEVEL = 1


def _zstandard() -> ModuleType:
    try:
        import zstandard  # noqa: PLC0415
    except ImportError:
        raise HangupError(
            "captures need the Python module zstandard", "install Debian's package python3-zstandard"
        ) from None
    return zstandard


def compressor() -> Callable[[bytes], tuple[Codec, bytes]]:
    """Return what makes some bytes smaller, if it can; for one thread. Raises HangupError without zstandard.

    Other threads run meanwhile.
    """
    # Its own checksum would be of the content: ours is of what is stored, and is seen to before it is unpacked.
    compress = _zstandard().ZstdCompressor(level=_LEVEL, write_checksum=False, write_content_size=True).compress

    def made_smaller(content: bytes) -> tuple[Codec, bytes]:
        stored = compress(content)
        return (Codec.ZSTD, stored) if len(stored) < len(content) else (Codec.NONE, content)

    return made_smaller


def decompressor() -> Callable[[int, bytes, int], bytes]:
    """Return what gives back a block's content, of its codec, what is stored, and how long the content is.

    It raises FormatError if what is stored makes another length, before there is memory for more. HangupError: there
    is no zstandard.
    """
    zstandard = _zstandard()
    decompress = zstandard.ZstdDecompressor().decompress

    def content_of(codec: int, stored: bytes, raw_length: int) -> bytes:
        if codec == Codec.NONE:
            return stored
        try:
            # As much memory is taken as the frame says; it cannot make more of it than that.
            if zstandard.frame_content_size(stored) != raw_length:
                raise FormatError("a block would become another length than its header says")
            content: bytes = decompress(stored)
        except zstandard.ZstdError as error:
            raise FormatError(f"a block cannot be decompressed ({error})") from None
        if len(content) != raw_length:
            raise FormatError("a block has become another length than its header says")
        return content

    return content_of
