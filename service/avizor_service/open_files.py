"""Let this process, and those that it starts, open as many files as its connections need."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger(__name__)

# Besides connections: models, logs, pipes to decoders and to other workers.
_OTHERS = 512


def allow_open_files(max_connections: int) -> None:
    """Raise the soft limit of open files, which is 1024 on most systems, and say so if the hard limit is too low.

    max_connections: of gRPC, and as many of HTTP. At the limit a client would wait for a connection that nobody accepts.
    """
    needed = 2 * max_connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _allows(soft, needed):
        return
    allowed = needed if _allows(hard, needed) else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        _log.warning(
            "only %d files may be open at once, and %d are needed with --max-connections %d; raise the hard limit "
            "(LimitNOFILE= of systemd, --ulimit nofile= of Docker), or lower --max-connections",
            allowed,
            needed,
            max_connections,
        )


def _allows(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
