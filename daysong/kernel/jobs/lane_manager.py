"""A pgqueuer queue manager that fills each lane separately, up to its free slots in this worker.

pgqueuer limits concurrency per entrypoint over all workers, or per worker over all entrypoints. Lanes need a limit per
entrypoint and worker, so each lane is dequeued by itself, for no more jobs than it has free slots.
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
# How soon the queue is polled again while a lane is full.
FULL_PAUSE = timedelta(seconds=0.25)


class LaneManager(QueueManager):
    """Dequeues jobs lane by lane. `slots` maps each entrypoint to its number of slots."""

    def __init__(self, queries: RepositoryPort, slots: Mapping[str, int]) -> None:
        super().__init__(queries)
        self._slots = {QueueEntrypoint(name): count for name, count in slots.items()}
        self._lanes: dict[JobId, QueueEntrypoint] = {}

    def free(self, lane: QueueEntrypoint) -> int:
        """Return how many more jobs of a lane may run here."""
        for job in [job for job in self._lanes if job not in self.job_context]:
            del self._lanes[job]
        return self._slots[lane] - sum(other == lane for other in self._lanes.values())

    async def fetch_jobs(
        self,
        batch_size: int,
        global_concurrency_limit: int | None,  # noqa: ARG002 - the lanes' slots are the limit
        heartbeat_timeout: timedelta,
    ) -> AsyncGenerator[QueueRow, None]:
        """Yield due jobs, for each lane as many as it has free slots."""
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
                    # The consumer has started the job by now, unless it was running here already.
                    self._lanes[job.id] = lane

    async def _effective_dequeue_timeout(self, dequeue_timeout: timedelta) -> timedelta:
        """Return how long to wait for notifications: briefly while a lane is full, else until the next job is due."""
        lanes = [lane for lane in self._slots if self.free(lane) > 0]
        if len(lanes) < len(self._slots):
            return FULL_PAUSE
        return await super()._effective_dequeue_timeout(dequeue_timeout)
