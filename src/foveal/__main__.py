"""Lets ``python -m foveal`` stand for ``foveal``."""

from foveal.cli import main

if __name__ == "__main__":
    main()
