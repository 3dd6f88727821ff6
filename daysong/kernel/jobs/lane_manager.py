"""A pgqueuer queue manager that fills each lane up to its free slots in this worker.

pgqueuer limits concurrency per entrypoint over all workers, or per worker over all entrypoints. Lanes need a limit per
entrypoint and worker, so no statement dequeues more jobs than each of its lanes has free slots.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
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
    """Dequeues jobs by lanes. `slots` maps each entrypoint to its number of slots."""

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
            # One statement for all lanes that could take a whole batch; mostly it finds little or nothing.
            roomy = [lane for lane in self._slots if self.free(lane) >= batch_size]
            together = await self._dequeue(roomy, batch_size, heartbeat_timeout) if roomy else []
            for job in together:
                found = True
                yield job
                self._started(job)
            # After less than a batch, nothing else is due in these; after a whole one, no lane waits for another's.
            for lane in self._slots:
                free = self.free(lane)
                if free <= 0 or self.shutdown.is_set() or (lane in roomy and len(together) < batch_size):
                    continue
                for job in await self._dequeue([lane], min(batch_size, free), heartbeat_timeout):
                    found = True
                    yield job
                    self._started(job)

    async def _dequeue(
        self, lanes: Sequence[QueueEntrypoint], most: int, heartbeat_timeout: timedelta
    ) -> Sequence[QueueRow]:
        return await self.queries.dequeue(
            batch_size=most,
            entrypoints=dict.fromkeys(lanes, NO_LIMIT),
            queue_manager_id=self.queue_manager_id,
            global_concurrency_limit=None,
            heartbeat_timeout=heartbeat_timeout,
        )

    def _started(self, job: QueueRow) -> None:
        # The consumer has started the job by now, unless it was running here already.
        self._lanes[job.id] = job.entrypoint

    async def _effective_dequeue_timeout(self, dequeue_timeout: timedelta) -> timedelta:
        """Return how long to wait for notifications: briefly while a lane is full, else until the next job is due."""
        lanes = [lane for lane in self._slots if self.free(lane) > 0]
        if len(lanes) < len(self._slots):
            return FULL_PAUSE
        return await super()._effective_dequeue_timeout(dequeue_timeout)
