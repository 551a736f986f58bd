"""Read from config.pbtxt how the requests of many callers become batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelQueuePolicy

_US = 1e-6


@dataclass(frozen=True)
class BatchPolicy:
    """Says how requests wait and become batches, as config.pbtxt has it. Sizes are in rows, times in seconds.

    together: requests share batches; else each request is a batch. preferred: sizes at which a batch runs without waiting for
    more, ascending. delay_s: longest wait for others to share a batch with. max_waiting: most requests that may wait; 0 is no
    limit. wait_limit_s: longest wait of a request, inf for none; one that waited longer is refused if `refuses`, else it runs
    after all others.
    """

    max_rows: int
    together: bool
    preferred: tuple[int, ...] = ()
    delay_s: float = 0.0
    max_waiting: int = 0
    wait_limit_s: float = math.inf
    refuses: bool = True

    @classmethod
    def of(cls, config: ModelConfig) -> Self:
        """Return the policy in a model's configuration. Without `dynamic_batching` requests do not share batches.

        Requests of Avizor have no priority: of several priority levels, the default one's policy holds. Their own timeout is a
        deadline, so `allow_timeout_override` changes nothing: a deadline always counts.
        """
        batching = config.dynamic_batching
        if not config.HasField("dynamic_batching"):
            return cls(config.max_batch_size, together=False)
        policy = batching.priority_queue_policy.get(batching.default_priority_level, batching.default_queue_policy)
        return cls(
            config.max_batch_size,
            together=True,
            preferred=tuple(sorted(set(batching.preferred_batch_size))),
            delay_s=batching.max_queue_delay_microseconds * _US,
            max_waiting=policy.max_queue_size,
            wait_limit_s=policy.default_timeout_microseconds * _US or math.inf,
            refuses=policy.timeout_action == ModelQueuePolicy.REJECT,
        )

    @property
    def runs_at(self) -> int:
        """Return the rows at which a batch runs without waiting for more."""
        return min(self.preferred, default=self.max_rows) if self.together else 1

    def size(self, waiting: int, most: int) -> int:
        """Return the rows of the next batch, if `waiting` wait: the largest preferred size that they fill, or else `most`."""
        return max((size for size in self.preferred if size <= waiting), default=min(most, self.max_rows))
