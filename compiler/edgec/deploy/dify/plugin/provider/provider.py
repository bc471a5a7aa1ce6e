"""The provider: what Dify asks when an operator saves the endpoint URL and the key.

Rule: every model that the plugin declares must answer there, with that key.
"""

from collections.abc import Mapping
from typing import Any

from dify_plugin import ModelProvider


class EdgeProvider(ModelProvider):
    """The models of one server."""

    def validate_provider_credentials(self, credentials: Mapping[str, Any]) -> None:
        """Asks each declared model for one answer. Raises CredentialsValidateFailedError."""
        for model in self.get_provider_schema().models:
            self.get_model_instance(model.model_type).validate_credentials(model.model, credentials)
