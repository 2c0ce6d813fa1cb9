"""A training that can be killed at any moment and goes on to the same bits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import say
from ..errors import ArgumentError, whole_number
from ..training import checkpoint, interruption
from ..training.ranks import agreeing, current
from .base import Callback

if TYPE_CHECKING:
    from ..training.state import State


class BackupAndRestore(Callback):
    """Keep the whole state of a training in `backup_dir`; `fit` with the same arguments goes on from there, to the same bits.

    The state holds weights, optimizer, callbacks, random numbers, the place in the epoch and the running metrics. It is
    saved after each epoch (`save_freq="epoch"`), after so many batches (a number), or neither (False); beside that after
    each `every_seconds`. Ctrl-C and SIGTERM save it and end the training. The state before the last is kept in any case,
    which Keras calls `double_checkpoint`. `delete_checkpoint`: both are removed when the training is over.

    Where `fit` reads a generator of yours, its own state is not kept: the batches that were taken are read anew and
    passed over. Results are the same to the bit on the same machine, with as many threads.
    """

    def __init__(
        self,
        backup_dir: str | Path,
        save_freq: str | int | bool = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        every_seconds: float | None = None,
        **unknown: Any,
    ):
        self._refuse(unknown)
        self.backup_dir, self.save_freq = backup_dir, save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self.every_seconds = every_seconds
        if save_freq not in ("epoch", False):
            whole_number(save_freq, 'BackupAndRestore: save_freq is "epoch", False or')
        if Path(backup_dir).exists() and not Path(backup_dir).is_dir():
            raise ArgumentError("BackupAndRestore: backup_dir is a folder", received=str(backup_dir))

    @contextmanager
    def watching(self) -> Iterator[State | None]:
        """Around the loop: gives the state to go on from, or None, and notes signals."""
        self._saved_at, self._steps = time.monotonic(), 0
        saved = checkpoint.newest(self.backup_dir, say)
        if saved is not None and not (isinstance(saved, dict) and {"place", "kind", "trained"} <= saved.keys()):
            raise ArgumentError("This is no checkpoint of a training", received=str(self.backup_dir))
        ranks = current()
        places = [] if ranks is None else ranks.all_of(saved and saved["place"])
        if any(place != places[0] for place in places):
            raise ArgumentError(
                f"The processes that train together do not see the same checkpoint in {self.backup_dir}",
                received=", ".join(map(str, places)), fix="Keep it where all of them can read it",
            )  # fmt: skip
        with interruption.noted() as self._asked:
            yield saved
            self._asked.raise_if_asked()  # one that came after the last save

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self._steps += 1
        by_count = self.save_freq not in ("epoch", False) and self._steps % int(self.save_freq) == 0
        by_time = self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds
        if self._agreed(by_count or by_time or self._asked.number is not None):
            self._save()

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        if self._agreed(self.save_freq == "epoch" or self._asked.number is not None):
            self._save()

    def _agreed(self, due: bool) -> bool:
        """Whether one of the processes that train together is to save, so that all take part in it."""
        return agreeing(self.training.step.ranks)(due)

    def _save(self) -> None:
        after_its_steps = self.training.batch == 0  # an epoch's end
        number = 2 * self.model.optimizer.iterations + after_its_steps
        state = self.training.state()
        if self.training.is_first:
            checkpoint.add(self.backup_dir, number, state)
        self._saved_at = time.monotonic()
        if (ranks := self.training.step.ranks) is not None:
            self._asked.number = next((n for n in ranks.all_of(self._asked.number) if n is not None), None)
        self._asked.raise_if_asked()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        if self.delete_checkpoint and self.training.is_first:
            checkpoint.clear(self.backup_dir)


def in_order(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks as given, those that save the whole training last: they save what the others have become."""
    return sorted(callbacks, key=lambda callback: isinstance(callback, BackupAndRestore))


@contextmanager
def watching(callbacks: Sequence[Callback]) -> Iterator[State | None]:
    """Around the loop: the state to go on from, where one of the callbacks has kept one."""
    backups = [callback for callback in callbacks if isinstance(callback, BackupAndRestore)]
    if len(backups) > 1:
        raise ArgumentError("A training takes one BackupAndRestore", received=f"{len(backups)} of them")
    with backups[0].watching() if backups else nullcontext() as saved:
        yield saved
