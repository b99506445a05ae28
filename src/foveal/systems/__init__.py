"""One folder a paper; ``index.py`` is the table of all of them."""
