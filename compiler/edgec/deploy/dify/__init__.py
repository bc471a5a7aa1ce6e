"""The Dify emitter: a signed model provider plugin whose predefined models are the bundle's."""
