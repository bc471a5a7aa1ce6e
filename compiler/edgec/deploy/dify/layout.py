"""Where the bytes of a zip belong: each to a file, to the directory or to the comment.

Rule: nothing may stand between, before or after: no signature and no identifier covers it, and other readers see it.
"""

from __future__ import annotations

import struct
import zipfile

_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_DESCRIPTOR_MARK = b"PK\x07\x08"
_HAS_DESCRIPTOR = 0x8


def has_stray_bytes(data: bytes, archive: zipfile.ZipFile) -> bool:
    """Whether bytes of the zip `data`, opened as `archive`, belong to nothing in it."""
    at = 0
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        if entry.header_offset != at:
            return True
        *_, name_bytes, extra_bytes = _LOCAL.unpack_from(data, at)
        at += _LOCAL.size + name_bytes + extra_bytes + entry.compress_size
        at += _descriptor_bytes(data, at, entry)
    end = len(data) - _END.size - len(archive.comment)
    mark, *_, directory_bytes, directory_at, comment_bytes = _END.unpack_from(data, end)
    is_end = mark == _END_MARK and comment_bytes == len(archive.comment)
    return not is_end or directory_at != at or at + directory_bytes != end


def _descriptor_bytes(data: bytes, at: int, entry: zipfile.ZipInfo) -> int:
    """The length of what writers put after a file whose size they did not know before, 0 without it."""
    if not entry.flag_bits & _HAS_DESCRIPTOR:
        return 0
    for sizes in ("<3L", "<LQQ"):
        stated = struct.pack(sizes, entry.CRC, entry.compress_size, entry.file_size)
        for descriptor in (_DESCRIPTOR_MARK + stated, stated):
            if data.startswith(descriptor, at):
                return len(descriptor)
    return 0
