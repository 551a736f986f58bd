"""Read PCM from a pipe in a thread, so that the job goes on while nothing comes, and the pipe is emptied while models run."""

from __future__ import annotations

import os
import threading
from collections import deque

from avizor_inference.errors import MediaError
from avizor_pipeline.live.wav_head import MARK, PcmFormat, read_head

STANDARD_INPUT_NUMBER = 0  # of its descriptor

# Bytes that are read at once, and that wait at most: 17 minutes of 16 kHz and 16 bits. Then the pipe is left full.
_READ_BYTES = 65536
MOST_WAITING = 32 << 20


class PcmInput:
    """Reads a descriptor until its end. given: what the samples are; of a WAV file it is taken from its head.

    format: what they are, as soon as it is known.
    """

    def __init__(self, descriptor: int, given: PcmFormat | None) -> None:
        self._descriptor, self._given = descriptor, given
        self.format: PcmFormat | None = None
        self._waiting = deque[bytes]()
        self._size = 0
        self._left: int | None = None  # bytes of samples to come; None: all
        self._is_over = False
        self._failure: MediaError | OSError | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="pcm-input", daemon=True).start()

    @property
    def backlog(self) -> int:
        """Return the number of bytes that were read and not taken."""
        return self._size

    @property
    def ended(self) -> bool:
        """Return whether there is nothing more to take, nor a failure to be raised by `wait`."""
        with self._changed:
            return self._is_over and not self._waiting and not self._failure

    def wait(self, seconds: float) -> bool:
        """Wait until something can be taken, or nothing will come, at most so long; return whether something can be.

        Raises MediaError if standard input is not what it should be, OSError.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over, seconds)
            if not self._waiting and self._failure:
                raise self._failure
            return bool(self._waiting)

    def take(self) -> bytes:
        """Return what came next; b"" if there is nothing."""
        with self._changed:
            if not self._waiting:
                return b""
            data = self._waiting.popleft()
            self._size -= len(data)
            self._changed.notify_all()
            return data

    def _run(self) -> None:
        try:
            self._begin()
            while self._left != 0 and (data := os.read(self._descriptor, _READ_BYTES)):
                self._put(data)
        except MediaError as error:
            self._failure = error
        except OSError as error:  # of `os.read`, which does not know a name
            self._failure = OSError(error.errno, error.strerror, "standard input")
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _begin(self) -> None:
        """Find out what the samples are. Raises MediaError."""
        mark = self._read(len(MARK))
        if not mark:
            return
        if mark == MARK:
            format, self._left = read_head(self._read)
            if self._given and self._given != format:
                raise MediaError(
                    f"standard input is a WAV file of {format.format}, {format.sample_rate} Hz and {format.channels} channels, "
                    "and --format, --rate and --input-channels say something else; leave them out"
                )
            self.format = format
        elif self._given:
            self.format = self._given
            self._put(mark)
        else:
            raise MediaError("standard input is no WAV file; say what its samples are with --rate, --format, --input-channels")

    def _read(self, size: int) -> bytes:
        """Return so many bytes, or fewer at the end."""
        data = b""
        while len(data) < size and (more := os.read(self._descriptor, size - len(data))):
            data += more
        return data

    def _put(self, data: bytes) -> None:
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        with self._changed:
            self._changed.wait_for(lambda: self._size < MOST_WAITING)
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()
