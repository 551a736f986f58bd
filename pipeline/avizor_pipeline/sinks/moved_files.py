"""Take files out of a finished shard that a later round does again."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from avizor_inference.digests import sha256_of_file
from avizor_pipeline.sinks.output_files import OutputPath, publish, read_part, remove_file, temporary_for
from avizor_pipeline.sinks.part_files import Commit, part_path, write_commit


def take_out(out: OutputPath, commit: Commit, uris: Collection[str], remaining: int) -> bool:
    """Take the dead letters of these files out of a shard; return False, with nothing done, if they have other rows there.

    remaining: files that the shard has then. The part is replaced first and the record last: after a crash between them the
    shard is damaged, and done again without the files. Raises OSError.
    """
    if not remaining or not commit.dead_letters:
        return False
    path = part_path(out, "dead_letters", commit.shard)
    letters = read_part(path)
    is_moved = pc.is_in(letters["uri"], pa.array(uris, pa.string()))
    moved, kept = letters.filter(is_moved), letters.filter(pc.invert(is_moved))
    if len(pc.unique(moved["uri"])) != commit.files - remaining:
        return False
    sha256 = dict(commit.sha256)
    name = f"dead_letters/{path.name}"
    if kept.num_rows:
        temporary = temporary_for(path)
        pq.write_table(kept, temporary, compression="zstd")
        sha256[name] = sha256_of_file(temporary)
        publish(temporary, path)
    else:
        del sha256[name]
        remove_file(path)
    changes = {
        "files": remaining,
        "dead_letters": kept.num_rows,
        "rows": commit.rows | {"dead_letters": kept.num_rows},
        "sha256": sha256,
    }
    write_commit(out, commit.model_copy(update=changes))
    return True
