"""`edgec schema`: the JSON schema of recipes or targets, for editors."""

from __future__ import annotations

import json
from pathlib import Path

import click
from pydantic import BaseModel

from edgec.commands.output import Output, output_options
from edgec.documents.schema import file_schema, schema_text
from edgec.recipe.model import Recipe
from edgec.store.atomic import write_file
from edgec.target.model import Target

# Document -> (model, `$id`, title). The `$id` names the version, so that an editor never mixes two of them.
DOCUMENTS: dict[str, tuple[type[BaseModel], str, str]] = {
    "recipe": (Recipe, "urn:edgec:recipe:v1", "edgec recipe"),
    "target": (Target, "urn:edgec:target:v1", "edgec target profile"),
}


def document_schema(name: str) -> str:
    """The schema of `recipe` or `target`, as the text of a file."""
    model, identifier, title = DOCUMENTS[name]
    return schema_text(file_schema(model, identifier=identifier, title=title))


@click.command()
@click.argument("document", type=click.Choice(sorted(DOCUMENTS)), default="recipe")
@click.option("-o", "--output-file", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file.")
@output_options
def command(document: str, output_file: Path | None, output: Output) -> None:
    """Print the JSON schema of recipes (default) or targets.

    For completion in an editor with yaml-language-server, begin a recipe with the line

        # yaml-language-server: $schema=recipe.schema.json
    """
    text = document_schema(document)
    if output_file is None:
        if output.as_json:
            output.result({"document": document, "schema": json.loads(text)}, "")
        else:
            # Also with --quiet: nothing else was asked for.
            click.echo(text, nl=False)
        return
    write_file(output_file, text.encode())
    facts = {"document": document, "file": str(output_file)}
    line = f"# yaml-language-server: $schema={output_file}"
    output.result(facts, f"wrote {output_file}\nbegin a {document} with this line, relative to it:\n  {line}")
