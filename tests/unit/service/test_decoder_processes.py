"""decoders: a process that is ended, or whose answer is left unread, is not asked again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from support.sounds import SOUND

from avizor_inference.errors import DecoderEnded
from avizor_inference.items.kinds.audio import SoundFile
from avizor_service.decoders.messages import PREFIX, Limits, Request
from avizor_service.decoders.process import DecoderProcess
from avizor_service.decoders.slot import DecoderSlot

WINDOWS = 10**12  # no machine has memory for so many


def test_a_process_whose_answer_was_not_read_to_its_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the rest of the answer would be taken for the answer to the next request, which may be of another caller."""
    head = json.dumps({"rows": WINDOWS}).encode()
    answer = tmp_path / "answer"
    answer.write_bytes(PREFIX.pack(len(head), WINDOWS * SOUND.tensor().item_bytes) + head)
    program = tmp_path / "python"
    program.write_text(f"#!/bin/bash\nprintf + >&0\ncat {answer} >&0\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))

    async def asked(process: DecoderProcess) -> None:
        await process.ready()
        with pytest.raises(MemoryError):
            await process.decode(Request(SoundFile(b"a file"), SOUND, Limits(windows=WINDOWS, bytes=2**63)))

    process = DecoderProcess(100)
    try:
        asyncio.run(asked(process))
        assert not process.is_usable
    finally:
        process.close()


def test_a_process_that_is_ended_by_a_signal_without_a_name_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/bash\nkill -40 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    process = DecoderProcess(100)
    try:
        with pytest.raises(DecoderEnded, match=r"^signal 40$"):
            asyncio.run(process.ready())
    finally:
        process.close()


def test_a_process_that_is_ended_before_it_is_ready_is_not_started_again() -> None:
    """Who waits for it has been left by the caller, and would decode the item for nobody, for as long as an item may take."""

    async def waited(slot: DecoderSlot) -> None:
        waiting = asyncio.create_task(slot.ready())
        while slot.pid is None:
            await asyncio.sleep(0.01)
        slot.kill()
        with pytest.raises(DecoderEnded, match="SIGKILL"):
            await waiting

    slot = DecoderSlot(100)
    try:
        asyncio.run(waited(slot))
        assert slot.pid is None
    finally:
        slot.close()
