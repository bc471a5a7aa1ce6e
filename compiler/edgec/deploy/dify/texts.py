"""The texts of the package for people: README in English and Chinese, PRIVACY. Rendered strictly: a gap is an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jinja2

from edgec.deploy.dify.identity import Identity
from edgec.deploy.dify.manifest import Wording
from edgec.deploy.dify.models import PredefinedModel
from edgec.deploy.model import ServedModel

_FILES = {
    "README.md": "README.md.j2",
    # Where Dify looks for the other languages.
    "readme/README_zh_Hans.md": "README_zh_Hans.md.j2",
    "PRIVACY.md": "PRIVACY.md.j2",
}
# After the title of each README, when nobody vouches for the key.
_DEVELOPMENT = {
    "README.md": "**Signed with a development key, to try it out: let no Dify that others use trust this key.**",
    "readme/README_zh_Hans.md": "**本插件包使用开发密钥签名，仅供试用：请勿让他人使用的 Dify 信任此密钥。**",
}


def texts(
    identity: Identity, wording: Wording, model: ServedModel, models: Sequence[PredefinedModel], *, with_wheels: bool
) -> dict[str, bytes]:
    """The documents by their path in the package."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgec.deploy.dify"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  # Markdown, shown by Dify as text
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return {
        path: environment.get_template(name)
        .render(identity=identity, wording=wording, model=model, models=models, with_wheels=with_wheels)
        .encode()
        for path, name in _FILES.items()
    }


def with_development_notice(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The package's files with a line in each README that says whose key signs it: nobody's."""
    noticed = dict(files)
    for path, notice in _DEVELOPMENT.items():
        title, _, rest = files[path].partition(b"\n")
        noticed[path] = b"\n".join((title, b"", notice.encode(), rest))
    return noticed
