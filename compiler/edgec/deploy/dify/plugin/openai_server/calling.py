"""What the three kinds of models have in common towards Dify.

Rule: an error keeps its type and its text. The SDK would replace the text of some and the type of the rest.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dify_plugin.errors.model import CredentialsValidateFailedError, InvokeBadRequestError, InvokeError
from dify_plugin.interfaces.model.ai_model import AIModel

# How long saving the credentials waits for a server that still loads its model.
VALIDATION_PATIENCE_S = 30.0


class ServerModel(AIModel):
    """A model that a server answers for."""

    @property
    def _invoke_error_mapping(self) -> dict[type[InvokeError], list[type[Exception]]]:
        return {InvokeBadRequestError: [ValueError]}

    def _transform_invoke_error(self, error: Exception) -> InvokeError:
        return error if isinstance(error, InvokeError) else super()._transform_invoke_error(error)

    def _property(self, model: str, credentials: dict[str, Any], name: Any) -> int:
        """A number among the model's properties in its YAML. Raises InvokeBadRequestError for an unknown model."""
        schema = self.get_model_schema(model, credentials)
        if schema is None or name not in schema.model_properties:
            raise InvokeBadRequestError(f"this plugin has no model {model!r} with a {name.value}")
        return int(schema.model_properties[name])


@contextmanager
def validating(model: str) -> Iterator[None]:
    """Turns what goes wrong into the error that Dify shows below the form."""
    try:
        yield
    except InvokeError as error:
        raise CredentialsValidateFailedError(f"{model}: {error}") from error
