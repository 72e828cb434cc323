"""``python -m polysense``, and the command ``polysense``: in silence where Ctrl-C comes while everything is read in."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the command ``polysense``."""
    try:
        from .cli import main

        main()
    except KeyboardInterrupt:
        print("polysense: interrupted", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # what is half read in has nothing to tidy up, and may not be able to


if __name__ == "__main__":
    main()
