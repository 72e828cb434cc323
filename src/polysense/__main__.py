"""``python -m polysense``, and the command ``polysense``: in one line where Ctrl-C comes while everything is read in.

Python turns Ctrl-C into an exception wherever it happens to be, in the middle of an import too; until the
command line stands, and can meet it, this file does.
"""

from __future__ import annotations

import os
import signal
from typing import Any


def main() -> None:
    """Entry point of the command ``polysense``."""
    before = signal.signal(signal.SIGINT, _stop)
    from .cli import main

    signal.signal(signal.SIGINT, before)
    try:
        main()
    except KeyboardInterrupt:
        _stop()


def _stop(*_: Any) -> None:
    os.write(2, b"polysense: interrupted\n")
    os._exit(130)  # what is half read in has nothing to tidy up, and may not be able to


if __name__ == "__main__":
    main()
