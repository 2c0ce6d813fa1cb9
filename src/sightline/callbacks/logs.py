"""What a training logged, kept by epoch: in memory, in a table, for TensorBoard."""

from __future__ import annotations

import csv
import importlib
import os
import secrets
import socket
import time
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, SightlineError, whole_number
from .base import Callback, Logs


class History(Callback):
    """What `fit` returns: `history` maps each name to its values by epoch, `epoch` numbers them."""

    kept = ("history", "epoch")

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class CSVLogger(Callback):
    """Write the logs of each epoch (from 0) as a row of a table, which is whole on the disk after each epoch.

    The columns are the names of the first epoch's logs, in alphabetical order; NA stands where an epoch has no value.
    A file that is there is replaced, with `append` continued. A resumed training continues its own file behind the
    last epoch that it knows of, so that no epoch stands there twice.
    """

    writes = True
    kept = ("columns", "size")

    def __init__(self, filename: str | Path, separator: str = ",", append: bool = False, **unknown: Any):
        self._refuse(unknown)
        if not isinstance(separator, str) or len(separator) != 1:
            raise ArgumentError("CSVLogger: separator is one character", received=repr(separator))
        self.filename, self.separator, self.append = filename, separator, append
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.columns: list[str] | None = None
        self.size = 0  # of the file after the last row, in bytes

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        logs, path = logs or {}, Path(self.filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.stat().st_size if path.is_file() else 0
        if self.columns is None:
            self.columns, self.size = _columns(logs), there if self.append else 0
        row = [epoch, *(_cell(logs.get(name, "NA")) for name in self.columns)]
        with path.open("a", newline="", encoding="utf-8") as file:
            file.truncate(min(self.size, there))
            writer = csv.writer(file, delimiter=self.separator)
            writer.writerows([row] if min(self.size, there) else [["epoch", *self.columns], row])
        self.size = path.stat().st_size


def _columns(logs: Iterable[str]) -> list[str]:
    """Keras's: without a validation in the first epoch, its columns are there all the same."""
    names = sorted(logs)
    return names if any(name.startswith("val_") for name in names) else [*names, *(f"val_{name}" for name in names)]


def _cell(value: Any) -> Any:
    """Several values as "[1, 2]" with its quotes, as Keras writes them."""
    several = isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", None) != 0
    return f'"[{", ".join(map(str, value))}]"' if several else value


class TensorBoard(Callback):
    """Write the logs for TensorBoard, as Keras names them: `epoch_loss` under `log_dir`/train and `log_dir`/validation.

    `update_freq`: "epoch", or "batch" or a number of batches to write also `batch_loss` so often, each time waiting
    for the device. A metric with several values gets a number for each: `epoch_iou/0`. Raises SightlineError where
    the package tensorboard is not installed. TensorFlow is not needed, and not loaded.
    """

    writes = True
    kept = ("batches",)

    def __init__(self, log_dir: str | Path = "logs", *, update_freq: str | int = "epoch", **unknown: Any):
        self._refuse(unknown)
        if update_freq not in ("epoch", "batch"):
            update_freq = whole_number(update_freq, 'TensorBoard: update_freq is "epoch", "batch" or a number, which')
        self.log_dir, self.update_freq = log_dir, update_freq
        _tensorboard("compat.proto.event_pb2")
        self.on_train_begin()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.batches = 0
        self._files: dict[str, _EventFile] = {}

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.batches += 1
        every = 1 if self.update_freq == "batch" else self.update_freq
        if isinstance(every, int) and self.batches % every == 0:
            self._write("train", "batch", logs or {}, self.batches)

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        logs = logs or {}
        rate = {"learning_rate": self.model.optimizer.learning_rate}
        self._write("train", "epoch", {n: v for n, v in logs.items() if not n.startswith("val_")} | rate, epoch)
        measured = {name.removeprefix("val_"): v for name, v in logs.items() if name.startswith("val_")}
        if measured:
            self._write("validation", "epoch", measured, epoch)

    def on_train_end(self, logs: Logs | None = None) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def _write(self, part: str, prefix: str, logs: Mapping[str, Any], step: int) -> None:
        if part not in self._files:
            self._files[part] = _EventFile(Path(self.log_dir) / part)
        for name, value in logs.items():
            values = np.asarray(value)
            for place, number in enumerate(values.ravel()):
                tag = f"{prefix}_{name}/{place}" if values.ndim else f"{prefix}_{name}"
                self._files[part].add(tag, float(number), step)
        self._files[part].flush()


class _EventFile:
    """A new file of TensorBoard's in a folder: records that hold protocol buffers.

    torch.utils.tensorboard writes the same, but loads TensorFlow where that is installed.
    """

    def __init__(self, folder: Path):
        self._proto = _tensorboard("compat.proto.event_pb2")
        self._summary = _tensorboard("compat.proto.summary_pb2")
        folder.mkdir(parents=True, exist_ok=True)
        of_this = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
        file = open(folder / f"events.out.tfevents.{of_this}", "xb")  # noqa: SIM115 (`close` is the callback's)
        self._records = _tensorboard("summary.writer.record_writer").RecordWriter(file)
        self._add(file_version="brain.Event:2")

    def add(self, tag: str, value: float, step: int) -> None:
        self._add(
            step=step, summary=self._summary.Summary(value=[self._summary.Summary.Value(tag=tag, simple_value=value)])
        )

    def _add(self, **content: Any) -> None:
        self._records.write(self._proto.Event(wall_time=time.time(), **content).SerializeToString())

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()


def _tensorboard(module: str) -> Any:
    try:
        return importlib.import_module(f"tensorboard.{module}")
    except ImportError as error:
        raise SightlineError(
            f"The callback TensorBoard cannot load the package tensorboard ({error})",
            fix="pip install 'sightline[track]'",
        ) from error
