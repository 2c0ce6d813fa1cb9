"""The files of a run, and the order in which its folder comes to be."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from ..callbacks import Callback
from ..console import say
from ..data.findings import Check
from ..errors import RunError
from ..files import write_text
from ..structures import Boxes, Dataset, Mask, MaskCoding, Sample
from ..version import __version__


class RunFolder:
    """Where a run keeps what: every name stands here once."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.data = path / "data.json"
        self.environment = path / "environment.json"
        self.results = path / "results.csv"
        self.evaluation = path / "evaluation.json"
        self.log = path / "log.txt"
        self.checkpoint = path / "checkpoint"
        self.tensorboard = path / "tensorboard"
        self.best = path / "weights" / "best.sightline"
        self.last = path / "weights" / "last.sightline"
        self.curves = path / "curves.png"
        self.picture = path / "confusion.png"
        self.mistakes = path / "mistakes.png"
        self.calibration = path / "calibration.png"
        self.report = path / "report.html"
        self.card = path / "card.md"
        self.explained = path / "explained"
        self.folds = path / "folds.json"  # of a cross-validation, whose folds are the runs

    @property
    def quoted(self) -> str:
        """The path as a shell takes it, whatever its name."""
        return shlex.quote(str(self.path))

    def require_free(self, exist_ok: bool) -> None:
        """Raise RunError where something is in the way: a run, unless `exist_ok`, or anything else."""
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        if not self.config.is_file():
            raise RunError(f"{self.path} exists and is not a run", fix="Give another --name")
        if not exist_ok:
            fix = f"Give another --name, --resume {self.quoted} to go on with it, or --exist-ok to replace it"
            raise RunError(f"There is a run {self.path} already", fix=fix)

    def begin(self) -> None:
        """Make the folder, without the files of a run that was here before."""
        for name, file in vars(self).items():
            if name in ("checkpoint", "tensorboard", "explained"):
                shutil.rmtree(file, ignore_errors=True)
            elif name != "path":
                file.unlink(missing_ok=True)
        self.best.parent.mkdir(parents=True, exist_ok=True)

    def require(self, *files: Path) -> None:
        """Raise RunError, naming what is missing, where this is no run or not a whole one."""
        if not self.path.is_dir():
            raise RunError(f"There is no run {self.path}", fix="sightline train prints the path of its run")
        if not self.config.is_file():
            raise RunError(f"{self.path} is not a run: it holds no {self.config.name}")
        for file in files:
            if not file.is_file() and self.folds.is_file():
                raise RunError(
                    f"{self.path} is a cross-validation, each fold of which is a run",
                    fix=f"Name one: {self.path / 'fold-1'}",
                )
            if not file.is_file():
                raise RunError(
                    f"{self.path} is not a finished run: {file.relative_to(self.path)} is missing",
                    fix=f"Go on with it: sightline train --resume {self.quoted}",
                )


class Log:
    """Says each line to the person and, from `start` on, to log.txt with what was said before; nothing without a path."""

    def __init__(self, path: Path | None):
        self._path = path
        self._waiting: list[str] = []
        self._started = False

    def start(self) -> None:
        self._started = True
        self._write()

    def __call__(self, text: str = "") -> None:
        if self._path is None:
            return
        say(text)
        self._waiting.append(text)
        if self._started:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        with open(self._path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(f"{line}\n" for line in self._waiting)
        self._waiting.clear()


class ResultsFile(Callback):
    """results.csv: a row for each epoch, the file whole after each."""

    writes = True
    kept = ("rows", "rate")

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.rate = 0.0  # of the last update

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.rate = self.model.optimizer.learning_rate

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = self.rate
        self.rows.append({"epoch": epoch + 1, **logs})
        self._write()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        if self.rows:
            self._write()  # of a run that only goes on to its end, the file may be gone

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


def read_results(path: Path) -> dict[str, list[float]]:
    """results.csv as names with their values by epoch."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error})") from error


def environment(device: str) -> dict[str, Any]:
    """What a run depends on besides its settings: versions and hardware."""
    import numpy
    import PIL
    import torch
    import torchvision

    versions = {"sightline": __version__, "python": platform.python_version(), "torch": torch.__version__}
    versions |= {"torchvision": torchvision.__version__, "numpy": numpy.__version__, "pillow": PIL.__version__}
    hardware = {"platform": platform.platform(), "processor": processor(), "cores": os.cpu_count(), "device": device}
    if torch.cuda.is_available():
        hardware["gpu"] = torch.cuda.get_device_name()
    return {"versions": versions, "hardware": hardware, "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])}


def processor() -> str:
    """The processor's name, as the system says it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def describe_data(dataset: Dataset, data: str, checked: Check) -> dict[str, Any]:
    """A data set as JSON: which file was in which split, under which class, with which boxes, what could not be read, what the check found.

    `data` is what the run was told to train on, a folder or a file in it.
    """
    return {
        "root": str(dataset.root.resolve()),
        "data": str(Path(data).resolve()),
        "format": dataset.format,
        "task": dataset.task,
        "classes": list(dataset.classes),
        "given splits": list(dataset.given),
        "splits": {
            split: [
                [_below(dataset.root, s.path), s.label, *_recorded_boxes(s), *_recorded_mask(dataset.root, s)]
                for s in samples
            ]
            for split, samples in dataset.splits.items()
        },
        "unreadable": [[str(problem.path), problem.reason] for problem in dataset.problems],
        "findings": [finding.as_dict() for finding in checked.findings],
    }


def _below(root: Path, path: Path) -> str:
    """A path as it is recorded: below the root where it lies there, otherwise from the top."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path.resolve())


def read_recorded(path: Path) -> dict[str, Any]:
    """What `describe_data` wrote; raises RunError where it is not whole."""
    recorded = read_json(path)
    try:
        (
            Path(recorded["root"]),
            recorded["splits"].get("test"),
            tuple(recorded["classes"]),
            tuple(recorded["given splits"]),
        )
        [(path, reason) for path, reason in recorded["unreadable"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path} is damaged: it does not say what the run was trained on") from error
    return recorded


def recorded_split(description: Mapping[str, Any], root: Path, split: str) -> tuple[Sample, ...]:
    """The samples of a split that `describe_data` wrote."""
    return tuple(
        Sample(root / name, label, _boxes_in(known), _mask_in(known, root))
        for name, label, *known in description["splits"].get(split, ())
    )


def _boxes_in(known: Sequence[Mapping[str, Any]]) -> Boxes | None:
    return next((Boxes(**each) for each in known if "xyxy" in each), None)


def _mask_in(known: Sequence[Mapping[str, Any]], root: Path) -> Mask | None:
    for each in known:
        if "mask" in each:
            coding = MaskCoding(each["coding"], tuple(each["values"]), tuple(each["ignored"]))
            return Mask(root / each["mask"], coding)
    return None


def _recorded_mask(root: Path, sample: Sample) -> list[dict[str, Any]]:
    mask = sample.mask
    if mask is None:
        return []
    coding = mask.coding
    return [
        {"mask": _below(root, mask.path), "coding": coding.kind, "values": coding.values, "ignored": coding.ignored}
    ]


def _recorded_boxes(sample: Sample) -> list[dict[str, Any]]:
    boxes = sample.boxes
    return [] if boxes is None else [{"xyxy": boxes.xyxy.tolist(), "labels": boxes.labels.tolist(), **boxes.marks()}]
