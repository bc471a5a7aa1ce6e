"""The environment variables a toolchain's processes get: few, and named here.

Rule: no token or key of the user reaches a tool that has no need of it; only pip gets pip's settings and the proxies.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_ALWAYS = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_NETWORK = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# Where pip would put things, or what it would install besides: these are ours to say.
_NOT_FOR_PIP = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_PYTHON",
    "PIP_USER",
    "PIP_REQUIREMENT",
    "PIP_CONSTRAINT",
    "PIP_NO_BINARY",
)


def for_tool(env: Mapping[str, str], bin_folder: str) -> dict[str, str]:
    """What a tool in an environment gets; it opens no connection by itself."""
    kept = {name: env[name] for name in _ALWAYS if name in env}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return {**kept, **offline, "PATH": f"{bin_folder}:{env.get('PATH') or _SYSTEM_PATH}"}


def for_pip(env: Mapping[str, str]) -> dict[str, str]:
    """What pip gets: the user's own settings of index, wheel folders, proxies and certificates."""
    kept = {
        name: value
        for name, value in env.items()
        if name in (*_ALWAYS, *_CERTIFICATES)
        or name.lower() in _NETWORK
        or name.startswith("XDG_")
        or (name.startswith("PIP_") and name not in _NOT_FOR_PIP)
    }
    # Says so also to a `user = true` in pip's configuration file.
    return {
        **kept,
        "PATH": env.get("PATH", os.defpath),
        "PIP_USER": "0",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def for_apt(env: Mapping[str, str]) -> dict[str, str]:
    """What apt gets: the proxies; its sources are the machine's own."""
    kept = {name: value for name, value in env.items() if name in (*_ALWAYS, "APT_CONFIG") or name.lower() in _NETWORK}
    # What apt says is matched for people only, in one language.
    return {**kept, "LC_ALL": "C.UTF-8", "PATH": env.get("PATH") or _SYSTEM_PATH, "DEBIAN_FRONTEND": "noninteractive"}


def for_npm(env: Mapping[str, str]) -> dict[str, str]:
    """What npm gets: the user's own registry, cache, proxies and certificates; it reads `~/.npmrc` by itself."""
    kept = {
        name: value
        for name, value in env.items()
        if name in (*_ALWAYS, *_CERTIFICATES, "NODE_EXTRA_CA_CERTS")
        or name.lower() in _NETWORK
        or name.lower().startswith("npm_config_")
        or name.startswith("XDG_")
    }
    return {**kept, "PATH": env.get("PATH") or os.defpath}
