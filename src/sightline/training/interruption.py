"""Ctrl-C and a request to end, noted and answered at the next place where a training can be saved."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A training was saved and ended because a signal asked for it."""

    def __init__(self, number: int):
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells tell of a process that a signal ended."""
        return 128 + self.number


class Noted:
    """Whether a signal came: its number, or None."""

    def __init__(self) -> None:
        self.number: int | None = None

    def raise_if_asked(self) -> None:
        if self.number is not None:
            raise Interrupted(self.number)


@contextmanager
def noted() -> Iterator[Noted]:
    """Inside, the first SIGINT or SIGTERM is only noted; a second one acts as ever. Only the main thread can do so."""
    asked = Noted()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    # One that is ignored stays so: a job in the background is not asked by Ctrl-C. None is a handler of another language
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    def note(number: int, frame: Any) -> None:
        asked.number = number
        for each, handler in before.items():
            signal.signal(each, handler)
        os.write(2, b"Stopping as soon as the training can be saved (once more: at once)\n")  # print may be running

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
