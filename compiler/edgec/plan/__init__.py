"""The plan: a recipe and a target turned into actions."""
