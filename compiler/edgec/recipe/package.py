"""The `package:` part of a recipe: what a bundle carries for those who serve and use the model.

Rule: settings only; what a name or a version may be for Triton, Dify or a browser is said by `deploy/`, which knows
their rules.
"""

from __future__ import annotations

from pydantic import Field

from edgec.recipe.document import Document, RelativePath


class TritonPorts(Document):
    """The server's ports on the device; the environment of start.sh can choose others."""

    http: int = Field(8000, ge=1, le=65535, description="HTTP: health, inference, generation.")
    grpc: int = Field(8001, ge=1, le=65535, description="gRPC: the same, with streams of responses.")
    metrics: int = Field(8002, ge=1, le=65535, description="Prometheus metrics.")


class TritonPackage(Document):
    """A Triton model repository around the model."""

    model_name: str | None = Field(None, description="The model's name in Triton. Default: the recipe's name.")
    version: int = Field(
        1, ge=1, le=2**31 - 1, description="The version folder. A higher one takes over from a lower one."
    )
    served_versions: int = Field(
        1,
        ge=1,
        le=16,
        description="How many of the newest versions in the repository are served at once (gray release).",
    )
    max_batch_size: int = Field(
        8,
        ge=1,
        le=4096,
        description="Embeddings: texts in one request; reranking: documents. Text generation takes one prompt per "
        "request.",
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="Text generation: new tokens when a request does not say. Default: 512, or half of the context "
        "where that is less.",
    )
    queue_size: int = Field(64, ge=1, le=2**31 - 1, description="Requests that wait at most; more are refused at once.")
    queue_timeout_ms: int = Field(
        60_000, ge=1, le=2**31 - 1, description="How long a request waits at most before it is refused."
    )
    warm_up: bool = Field(True, description="Run one request when the model is loaded, before it is ready.")
    ports: TritonPorts = Field(TritonPorts(), description="The server's ports, if the environment does not say.")


class LocalText(Document):
    """One line of text, in the languages that Dify shows."""

    en_US: str = Field(min_length=1, description="In English.")  # noqa: N815  # Dify's own key
    zh_Hans: str | None = Field(None, min_length=1, description="In simplified Chinese. Default: the English one.")  # noqa: N815


class DifyPackage(Document):
    """A Dify model provider plugin (`.difypkg`) whose predefined models are this bundle's."""

    author: str = Field(description="The plugin's author, as Dify shows it before the name.", examples=["acme"])
    name: str | None = Field(None, description="The plugin's name. Default: the recipe's name, with `-` for each dot.")
    version: str | None = Field(None, description="The plugin's version. Default: the recipe's version.")
    label: LocalText | None = Field(None, description="The provider's name for people. Default: the recipe's name.")
    description: LocalText | None = Field(None, description="One line for people. Default: the recipe's.")
    icon: RelativePath | None = Field(
        None, description="An SVG or PNG file, relative to the recipe. Default: one drawn from the name."
    )
    key: RelativePath | None = Field(
        None,
        description="A PEM file with an RSA private key in PKCS#1 (`edgec dify keygen`), relative to the recipe. "
        "Default: `EDGEC_DIFY_KEY`, else the user's key, else a development key.",
    )
    with_wheels: bool = Field(
        False, description="Carry the plugin's Python packages for amd64 and arm64, for operators without internet."
    )


class WebPackage(Document):
    """A static web site that runs the model in the visitor's browser, on wllama or onnxruntime-web."""

    title: str | None = Field(None, min_length=1, description="The page's title. Default: the recipe's name.")
    max_tokens: int = Field(128, ge=1, description="New tokens of an answer when the visitor does not say.")
    threads: int | None = Field(
        None, ge=1, le=64, description="Threads at most, if the browser has them. Default: the target's."
    )
    port: int = Field(8080, ge=1, le=65535, description="The port in the site's nginx.conf and Caddyfile.")


class Package(Document):
    """What the bundle carries beside the model."""

    triton: TritonPackage | None = Field(
        TritonPackage(), description="A Triton model repository; `null` for none. Browsers get none."
    )
    dify: DifyPackage | None = Field(None, description="A Dify provider plugin, once it has an `author`.")
    web: WebPackage | None = Field(
        WebPackage(), description="A web site, for targets that are browsers; `null` for none. Others get none."
    )
