"""`python -m weightslab`: the command line without the script."""

from __future__ import annotations

from weightslab.cli.app import main

if __name__ == "__main__":
    main()
