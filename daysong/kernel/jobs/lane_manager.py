"""A queue manager of pgqueuer's that fills each lane by itself, as long as it has free slots here.

pgqueuer has limits by entrypoint for all workers together, and one for all entrypoints of a worker. A lane needs one by
entrypoint and worker: each is asked for by itself, and never for more jobs than it has slots free.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta

from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job as QueueRow
from pgqueuer.domain.types import JobId, QueueEntrypoint
from pgqueuer.ports import RepositoryPort
from pgqueuer.ports.repository import EntrypointExecutionParameter

NO_LIMIT = EntrypointExecutionParameter(concurrency_limit=0)
# While a lane that is full has more to do: how soon it is looked at again.
FULL_PAUSE = timedelta(seconds=0.25)


class LaneManager(QueueManager):
    """Takes up jobs lane by lane. `slots` are those of each entrypoint."""

    def __init__(self, queries: RepositoryPort, slots: Mapping[str, int]) -> None:
        super().__init__(queries)
        self._slots = {QueueEntrypoint(name): count for name, count in slots.items()}
        self._lanes: dict[JobId, QueueEntrypoint] = {}

    def free(self, lane: QueueEntrypoint) -> int:
        """How many more jobs of a lane may run here."""
        for job in [job for job in self._lanes if job not in self.job_context]:
            del self._lanes[job]
        return self._slots[lane] - sum(other == lane for other in self._lanes.values())

    async def fetch_jobs(
        self,
        batch_size: int,
        global_concurrency_limit: int | None,  # noqa: ARG002 - the lanes' slots are the limit
        heartbeat_timeout: timedelta,
    ) -> AsyncGenerator[QueueRow, None]:
        """Yield jobs that are due, of each lane as many as it has slots free."""
        found = True
        while found and not self.shutdown.is_set():
            found = False
            for lane in self._slots:
                free = self.free(lane)
                if free <= 0 or self.shutdown.is_set():
                    continue
                jobs = await self.queries.dequeue(
                    batch_size=min(batch_size, free),
                    entrypoints={lane: NO_LIMIT},
                    queue_manager_id=self.queue_manager_id,
                    global_concurrency_limit=None,
                    heartbeat_timeout=heartbeat_timeout,
                )
                for job in jobs:
                    found = True
                    yield job
                    # Whoever asked has begun the job by now, unless it runs here already.
                    self._lanes[job.id] = lane

    async def _effective_dequeue_timeout(self, dequeue_timeout: timedelta) -> timedelta:
        """How long to wait for news: until something is due in a lane with free slots, or a full lane may have one."""
        lanes = [lane for lane in self._slots if self.free(lane) > 0]
        if len(lanes) < len(self._slots):
            return FULL_PAUSE
        return await super()._effective_dequeue_timeout(dequeue_timeout)
