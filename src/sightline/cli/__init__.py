"""The command line: each command reads its words, calls one public function, and shows what it returns.

torch is loaded inside the commands, so that `--help` answers at once.
"""

from .commands import main

__all__ = ["main"]
