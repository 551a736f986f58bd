"""Keep flagged items in a folder that `avizor review` and `avizor report` read. Several processes may do so at once."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from avizor_inference.durable_files import is_temporary, make_folder
from avizor_inference.errors import SettingsError
from avizor_inference.items.file_access import name_of
from avizor_inference.job_results import JOB_FILE, ROUNDS, ROWS_FORMAT
from avizor_inference.regular_files import read_regular
from avizor_inference.review_answers import ANSWERS_FILE, AnswerFile
from avizor_service.keeping.flagged import Flagged
from avizor_service.keeping.kept_job import KeptJob, KeptModel
from avizor_service.keeping.places import ITEMS, KeptFile, group_of, kept_files, name_of_item
from avizor_service.keeping.private_files import make_private_folder, write_private
from avizor_service.keeping.retention import doomed
from avizor_service.keeping.slots import Slot, alone, borrowed
from avizor_service.keeping.tables import KEPT_TABLES, SlotTables, judged_by
from avizor_service.metric_labels import BoundedSources
from avizor_service.settings import Settings

_log = logging.getLogger(__name__)

_DAY_NS = 86_400 * 10**9

# Versions and calibrations that are named; a gateway may have a new one each day.
_MOST_MODELS = 256

# Seconds after which a file without a row in the tables was left by a process that was killed.
_LEFT_S = 600


class KeptFolder:
    """Writes into one folder, under a slot of its own. Every method raises OSError or pa.ArrowException if the disk refuses."""

    def __init__(self, settings: Settings, sources: BoundedSources) -> None:
        assert settings.keep_flagged
        self.path = settings.keep_flagged
        self._settings, self._sources = settings, sources
        if not self.path.is_dir():
            make_folder(self.path.parent)
            make_private_folder(self.path)
        self._slot = Slot.first_free(self.path)
        try:
            make_private_folder(self.path / ITEMS)
            self._tables = SlotTables(self.path, self._slot.number)
            self._models: set[KeptModel] = set()
            self._note_models((), anew=True)  # another alpha, for example
        except BaseException:
            self._slot.give_back()
            raise
        self._count = 0

    def close(self) -> None:
        """Let another process have the slot."""
        self._slot.give_back()

    def keep(self, flagged: Sequence[Flagged]) -> Iterator[int]:
        """Write items. Yields the bytes of each that is there; they count once the iterator is used up.

        An item that cannot be made a file is left out, and yields 0.
        """
        self._note_models(flagged)
        rows: dict[str, list[Mapping[str, Any]]] = {"windows": [], ROUNDS: [], "recordings": []}
        written: list[Path] = []
        try:
            for item in flagged:
                yield self._keep_item(item, rows, written)
            self._tables.add(rows)
        except BaseException:
            for path in written:
                with suppress(OSError):
                    path.unlink()
            raise

    def retain(self) -> tuple[int, Mapping[str, int]]:
        """Remove what is kept no longer: that of this writer, and of those that have ended; each other one does it, too.

        Return the bytes that are kept, and how many items went, by reason.
        """
        if _job_in(self.path) is None:
            self._note_models((), anew=True)  # it was removed or damaged, and without it nothing that is kept can be seen
        self._tables.remove_old()
        files, other_bytes = kept_files(self.path), self._bytes_of_tables()
        answered = self._answered()
        most = self._settings.keep_flagged_max_mib << 20
        oldest = time.time_ns() - int(self._settings.keep_flagged_max_days * _DAY_NS)
        going = doomed(files, other_bytes, answered, most, oldest)
        by_age, by_bytes = list(self._remove(going.by_age)), list(self._remove(going.by_bytes))
        gone = [*by_age, *by_bytes]
        if going.by_bytes and len(gone) < len(going.by_age) + len(going.by_bytes):
            # The oldest are of another writer, which looks later: until then it is ours that have to make room.
            went = set(gone)
            ours = [file for file in files if file.slot == self._slot.number and file not in went]
            theirs = sum(file.size for file in files) - sum(file.size for file in (*gone, *ours))
            by_bytes += self._remove(doomed(ours, other_bytes + theirs, answered, most, oldest).by_bytes)
            gone = [*by_age, *by_bytes]
        if with_answer := sum(file.path in answered for file in gone):
            _log.warning(
                "%d of the flagged items that were removed had an answer, which stays in %s",
                with_answer,
                self.path / ANSWERS_FILE,
            )
        return other_bytes + sum(file.size for file in files) - sum(file.size for file in gone), {
            "age": len(by_age),
            "bytes": len(by_bytes),
        }

    def prove_room(self, size: int) -> None:
        """Write so many bytes, and remove them."""
        path = self.path / "room"
        write_private(path, bytes(size), durable=False)
        path.unlink(missing_ok=True)  # another writer may prove it, too

    def sweep(self) -> None:
        """Remove what killed processes have left: files without a row, and files that were never finished; rows without a file.

        A file that is removed when there is no room for the tables without its row leaves that, and so does one that a person
        removes.
        """
        late = time.time() - _LEFT_S
        for folder in [self.path, *(self.path / table for table in KEPT_TABLES), *self._groups()]:
            for path in filter(is_temporary, folder.iterdir()):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < late:
                        path.unlink()
        own = [file for file in kept_files(self.path) if file.slot == self._slot.number]
        uris, there = self._tables.uris(), {file.path for file in own}
        named = {uri.partition("#")[0] for uri in uris}
        for file in own:
            if file.path not in named and file.time_ns < late * 1e9:
                (self.path / file.path).unlink(missing_ok=True)
        # Of a folder that is gone they stay: it may come back.
        groups = {group.name for group in self._groups()}
        if gone := [uri for uri in uris if uri.partition("#")[0] not in there and Path(uri).parent.name in groups]:
            self._tables.remove(gone)

    def _keep_item(self, item: Flagged, rows: dict[str, list[Mapping[str, Any]]], written: list[Path]) -> int:
        try:
            form = item.file()
        except OSError:
            raise
        except Exception:
            _log.exception("a flagged item of %r cannot be written as a file", item.model.name)
            return 0
        group = self.path / ITEMS / group_of(item.source, self._sources)
        make_private_folder(group)
        self._count += 1
        name = name_of_item(
            item.time_ns, item.model.name, self._slot.number, self._count, is_mixed=item.is_mixed, suffix=form.suffix
        )
        path = group / name
        write_private(path, form.data, durable=False)
        written.append(path)
        os.utime(path, ns=(item.time_ns, item.time_ns))
        status = path.stat()
        relative = f"{ITEMS}/{group.name}/{name}"
        uri = f"{relative}#0" if form.is_pack else relative
        columns = item.window_columns(uri)
        rows["windows"] += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        rows["recordings"].append(item.recording_row(uri))
        part = {"item": "0", "first": 0, "items": 1, "offset": 0} if form.is_pack else {}
        place = {"uri": uri, "path": relative, "source": item.source, "size": status.st_size, "modified_ns": status.st_mtime_ns}
        rows[ROUNDS].append({**place, **part})
        return status.st_size

    def _note_models(self, flagged: Iterable[Flagged], *, anew: bool = False) -> None:
        """Say in job.json which versions have judged, the newest first. Other writers may do so at once."""
        new = {_model(item) for item in flagged} - self._models
        if not new and not anew:
            return
        with alone(self.path):
            before = _job_in(self.path)
            known = before.models if before else (*self._models, *self._judged())
            models = {_key(model): model for model in reversed((*sorted(new, key=_newest_first), *known))}
            job = KeptJob(
                rows_format=ROWS_FORMAT,
                repository=name_of(str(self._settings.models.absolute())),
                models=tuple(reversed(models.values()))[:_MOST_MODELS],
                alpha=self._settings.alpha,
                confidence=self._settings.confidence,
                engine=self._settings.engine,
                device=self._settings.device,
            )
            if before is None and (self.path / JOB_FILE).exists():
                _log.warning("%s is cut off, and is written again", self.path / JOB_FILE)
            if job != before:
                write_private(self.path / JOB_FILE, (job.model_dump_json(indent=2) + "\n").encode(), durable=True)
        self._models |= new

    def _judged(self) -> list[KeptModel]:
        """Return what the tables name, of any writer: of the models that have judged, only the digests are not in them."""
        judged = judged_by(self.path)
        found = [KeptModel(name=name, version=number, sha256="", calibration_id=against) for name, number, against in judged]
        return sorted(found, key=_newest_first)

    def _remove(self, files: Sequence[KeptFile]) -> Iterator[KeptFile]:
        """Remove files and their rows, and yield them; those of other writers that live are left to them."""
        for slot in sorted({file.slot for file in files}):
            theirs = [file for file in files if file.slot == slot]
            if slot == self._slot.number:
                yield from self._remove_of(self._tables, theirs)
                continue
            with borrowed(self.path, slot) as has_ended:
                if has_ended:
                    yield from self._remove_of(SlotTables(self.path, slot), theirs)

    def _remove_of(self, tables: SlotTables, files: Sequence[KeptFile]) -> Iterator[KeptFile]:
        try:
            tables.remove([uri for file in files for uri in (file.path, f"{file.path}#0")])
        finally:  # on a full disk that takes room which the files have
            for file in files:
                (self.path / file.path).unlink(missing_ok=True)
        yield from files

    def _answered(self) -> set[str]:
        try:
            answered = AnswerFile(self.path / ANSWERS_FILE).answers().answered()
        except SettingsError as error:
            raise OSError(str(error)) from error
        return {key.uri.partition("#")[0] for key in answered}

    def _groups(self) -> list[Path]:
        return [path for path in (self.path / ITEMS).iterdir() if path.is_dir()]

    def _bytes_of_tables(self) -> int:
        found = 0
        for table in KEPT_TABLES:
            for path in (self.path / table).iterdir():
                with suppress(FileNotFoundError):
                    found += path.stat().st_blocks * 512
        return found


def check_is_ours(folder: Path) -> None:
    """Raise SettingsError if a folder holds the results of something else."""
    try:
        _job_in(folder)
    except OSError:
        return  # it is said, and tried again, as whatever else is wrong with the disk


def _job_in(folder: Path) -> KeptJob | None:
    """Return what a folder is, or None if it is nothing yet. Raises SettingsError if it is something else, OSError."""
    try:
        text = read_regular(folder / JOB_FILE)
    except FileNotFoundError:
        return None
    try:
        return KeptJob.model_validate_json(text)
    except ValueError as error:
        if (folder / ITEMS).is_dir() and not _is_json(text):  # cut off, and a gateway's: it is written anew
            return None
        raise SettingsError(
            f"--keep-flagged {folder}: its {JOB_FILE} is not that of a gateway that keeps items, or is of another version of "
            "Avizor; choose another folder"
        ) from error


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _key(model: KeptModel) -> tuple[str, int, str]:
    return model.name, model.version, model.calibration_id


def _newest_first(model: KeptModel) -> tuple[str, int]:
    return model.name, -model.version


def _model(item: Flagged) -> KeptModel:
    version = item.model
    return KeptModel(
        name=version.name, version=version.version, sha256=version.manifest.model_sha256, calibration_id=item.calibration_id
    )
