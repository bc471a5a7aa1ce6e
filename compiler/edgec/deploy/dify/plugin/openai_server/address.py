"""The address that an operator types, as the address of a server.

Rule: `http://host:8080`, `http://host:8080/`, `http://host:8080/v1` and `host:8080` all mean the same server.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

EXAMPLE = "http://192.168.1.20:8080/v1"


@dataclass(frozen=True)
class Address:
    """A server. `root`: its URL without `/v1` and without a slash at its end."""

    root: str

    def url(self, path: str) -> str:
        """The URL of a path from the root, for example `/v1/embeddings` or llama.cpp's own `/tokenize`."""
        return self.root + path

    @property
    def is_loopback(self) -> bool:
        """Whether it names the machine, or the container, that the plugin itself runs in."""
        host = urlsplit(self.root).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


def read_address(typed: object) -> Address:
    """The server an operator means. Raises ValueError, with a text for the operator."""
    text = typed.strip() if isinstance(typed, str) else ""
    if not text:
        raise ValueError(f"the endpoint URL is missing: type the server's base URL, for example {EXAMPLE}")
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        valid = False
    if not valid or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not the base URL of a server, such as {EXAMPLE}")
    root = text.rstrip("/")
    return Address(root.removesuffix("/v1").rstrip("/"))
