"""Dify's verification once more, by its daemon's source (bdb5642: pkg/plugin_packager/{decoder,signer}).

Rule: nothing of edgec, zipfile or `cryptography` is used: the zip's directory, the PKCS#1 key and RSA are read by hand.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import zlib

# PKCS#1 v1.5: the DigestInfo of SHA-256 (RFC 8017, section 9.2).
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def entries(package: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """Names and contents in the order of the central directory, and the comment."""
    end = package.rindex(b"PK\x05\x06")
    count, _, offset, comment_bytes = struct.unpack_from("<HIIH", package, end + 10)
    comment = package[end + 22 : end + 22 + comment_bytes]
    found = []
    for _ in range(count):
        method, packed, size, name_bytes, extra, note, at = _directory_entry(package, offset)
        name = package[offset + 46 : offset + 46 + name_bytes].decode()
        offset += 46 + name_bytes + extra + note
        local_name, local_extra = struct.unpack_from("<HH", package, at + 26)
        begin = at + 30 + local_name + local_extra
        data = package[begin : begin + packed]
        content = zlib.decompress(data, -15) if method == 8 else data
        assert len(content) == size
        found.append((name, content))
    return found, comment


def _directory_entry(package: bytes, offset: int) -> tuple[int, ...]:
    assert package[offset : offset + 4] == b"PK\x01\x02"
    (method,) = struct.unpack_from("<H", package, offset + 10)
    packed, size, name_bytes, extra, note = struct.unpack_from("<IIHHH", package, offset + 20)
    (at,) = struct.unpack_from("<I", package, offset + 42)
    return method, packed, size, name_bytes, extra, note, at


def signed_data(package: bytes) -> tuple[bytes, bytes]:
    """What the signature is over, and the signature."""
    files, comment = entries(package)
    stated = json.loads(comment)
    digests = b"".join(hashlib.sha256(content).digest() for _, content in files)
    return digests + str(stated["time"]).encode(), base64.b64decode(stated["signature"])


def accepts(package: bytes, public_pem: bytes) -> bool:
    """Whether the daemon takes the package, with this key among its own."""
    data, signature = signed_data(package)
    modulus, exponent = _numbers(public_pem)
    length = (modulus.bit_length() + 7) // 8
    if len(signature) != length:
        return False
    opened = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(length, "big")
    tail = b"\x00" + _DIGEST_INFO + hashlib.sha256(data).digest()
    return opened == b"\x00\x01" + b"\xff" * (length - 2 - len(tail)) + tail


def checksum(package: bytes) -> str:
    """The end of the unique identifier."""
    files, _ = entries(package)
    digests = {name: hashlib.sha256(content).digest() for name, content in files}
    joined = b"".join(hashlib.sha256(name.encode()).digest() + digests[name] for name in sorted(digests))
    return hashlib.sha256(joined).hexdigest()


def _numbers(pem: bytes) -> tuple[int, int]:
    match = re.fullmatch(rb"-----BEGIN RSA PUBLIC KEY-----\n(.*)\n-----END RSA PUBLIC KEY-----\n", pem, re.DOTALL)
    assert match, "the daemon takes PKCS#1 with nothing after it"
    der = base64.b64decode(match[1])
    body, rest = _value(der, 0x30)
    assert not rest
    modulus, body = _value(body, 0x02)
    exponent, body = _value(body, 0x02)
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")


def _value(der: bytes, tag: int) -> tuple[bytes, bytes]:
    assert der[0] == tag
    length, at = der[1], 2
    if length & 0x80:
        at = 2 + (length & 0x7F)
        length = int.from_bytes(der[2:at], "big")
    return der[at : at + length], der[at + length :]
