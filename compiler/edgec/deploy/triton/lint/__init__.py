"""What is wrong with a Triton model repository, before a server is started."""

from edgec.deploy.triton.lint.repository_lint import lint_files, lint_repository

__all__ = ["lint_files", "lint_repository"]
