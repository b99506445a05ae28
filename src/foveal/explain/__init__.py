"""The page ``--explain`` writes: what a run looked at, what it decided, and what that cost."""

from foveal.explain.page import ExplainError, page, write_page

__all__ = ["ExplainError", "page", "write_page"]
