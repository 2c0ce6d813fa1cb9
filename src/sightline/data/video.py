"""Video files as frames, read and written one by one. The codecs are OpenCV's, which comes with the extra `video`."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, DataError

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
RATE = 25.0  # frames a second, of a file that does not say
CODEC = "mp4v"  # MPEG-4 part 2, which every build of OpenCV can write


class Video(NamedTuple):
    """`frames`, uint8 (height, width, 3) RGB, as they are decoded; `rate` a second; `length` in frames, 0 where the file does not say."""

    frames: Iterator[np.ndarray]
    rate: float
    length: int


def is_video(path: Path) -> bool:
    """Whether a file's name says that it is a video."""
    return path.suffix.lower() in SUFFIXES


@contextmanager
def opened_video(path: Path) -> Iterator[Video]:
    """A video's frames; raises DataError, with the path, for a file that is missing or no video."""
    cv2 = _codecs()
    if not path.is_file():
        raise DataError(f"There is no video {path}", fix="Check the path")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise DataError(f"{path} cannot be read as a video")
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        yield Video(_frames(capture, cv2), rate if 0 < rate < 1000 else RATE, max(int(count), 0))
    finally:
        capture.release()


def _frames(capture: Any, cv2: Any) -> Iterator[np.ndarray]:
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


class VideoWriter:
    """Takes frames of one size, uint8 RGB; the file is there under its name once `written_video` ends."""

    def __init__(self, path: Path, rate: float):
        self._path, self._rate = path, rate
        self._file: Any = None

    def write(self, pixels: np.ndarray) -> None:
        """Add a frame. Raises DataError where the file cannot be written."""
        cv2 = _codecs()
        if self._file is None:
            size = pixels.shape[1], pixels.shape[0]
            self._file = cv2.VideoWriter(str(self._path), cv2.VideoWriter_fourcc(*CODEC), self._rate, size)
            if not self._file.isOpened():
                raise DataError(f"A video cannot be written to {self._path.parent}")
        self._file.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.release()


@contextmanager
def written_video(path: Path, rate: float) -> Iterator[VideoWriter]:
    """What writes an .mp4 file, which is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.mp4"
    writer = VideoWriter(unfinished, rate)
    try:
        yield writer
        writer.close()
        if unfinished.is_file():
            os.replace(unfinished, path)
    finally:
        writer.close()
        unfinished.unlink(missing_ok=True)


def _codecs() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ArgumentError(
            "Videos need codecs that are not installed",
            fix="pip install 'sightline[video]', or give a folder of frames",
        ) from error
    return cv2
