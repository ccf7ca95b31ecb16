"""The only module that talks to Ray: workers as actors, and what becomes of their work."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from catalogs.errors import ClipmillError, UsageError
from curation.jobs.meanwhile import meanwhile

__all__ = ["Crew", "Lost", "start_local"]

IN_FLIGHT = 2
"""Pieces of work a worker holds: one that it does and one that is already there."""

START_PATIENCE_S = 30.0
"""How long a run waits for all its workers; on a busy cluster it begins with those it has."""

IDLE_PARTS = ("start_monitor", "start_log_monitor", "start_api_server")
"""What Ray starts on every local cluster: the autoscaler, the forwarder of logs, the server of the
dashboard. Here they have nothing to do, and a third of the time to start is spent on them."""

MOST_DEATHS = 12
"""Deaths per worker, without any success in between, after which a run gives up."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Work that came to nothing because its worker died or raised what it should not."""

    error_class: str
    detail: str


@dataclass(slots=True)
class _Held:
    """A piece of work on a worker. Only the first of a worker's pieces is being done."""

    worker: int
    actor: Any
    job: Any
    since: float


class _Seat:
    """The actor that a worker sits in."""

    def __init__(self, make: Callable[[], Any]):
        self._worker = make()

    def ready(self) -> Any:
        return self._worker.ready()

    def work(self, job: Any) -> Any:
        return self._worker.work(job)


class Crew:
    """Workers on a local or a joined cluster, as many as there is work for.

    `make` builds a worker (`ready()` and `work(job)`) where it is to work; one that dies is
    replaced. Without an `address`, Ray's own variable `RAY_ADDRESS` is followed.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        workers: int | None = None,
        address: str | None = None,
        *,
        gpus: float = 0.0,
    ):
        if workers is not None and workers < 1:
            raise UsageError(f"{workers} workers", allowed="1 or more, 0 to work without Ray")
        self._make = make
        self._gpus = gpus
        self._most = workers
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._joined = False
        self._session: str | None = None
        self._workers: list[Any] = []
        self._held: dict[Any, _Held] = {}
        self._deaths = 0
        self.hosts: list[str] = []

    def start(self, pieces: int) -> None:
        """Start or join the cluster, and start workers for so many pieces of work."""
        import pyarrow as pa
        import ray

        if not ray.is_initialized():
            self._join()
        if self._most is None:
            self._most = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._workers = [self._worker() for _ in range(min(self._most, max(1, pieces)))]
        # Whoever dies now is replaced when its first work comes to nothing.
        answers = [worker.ready.remote() for worker in self._workers]
        with meanwhile(pa.array, []):  # looks for pandas, which takes a quarter of a second
            ray.wait(answers, num_returns=len(answers), timeout=START_PATIENCE_S)
        self.hosts = sorted(node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"])

    def _join(self) -> None:
        """The cluster at the address, or a new one on this machine."""
        try:
            if self._address is not None:
                _init(address=self._address)
                self._joined = True
            else:
                cpus = max(self._most or 0, os.cpu_count() or 1)
                self._session = start_local(cpus)["session_dir"]
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClipmillError(
                f"cannot {'join' if self._address else 'start'} a Ray cluster: {error}",
                hint="check --address" if self._address else "look at the Ray logs in /tmp/ray",
            ) from error

    def _worker(self) -> Any:
        import ray

        actor = ray.remote(num_cpus=1, num_gpus=self._gpus, max_restarts=0)(_Seat)
        return actor.remote(self._make)

    def stop(self, *, keep_logs: bool = False) -> None:
        """Dismiss the workers and leave the cluster; a local one ends and takes its logs along."""
        import ray

        for worker in self._workers:
            ray.kill(worker)
        self._workers = []
        if self._joined or self._session is not None:
            ray.shutdown()
        if self._session is not None and not keep_logs:
            shutil.rmtree(self._session, ignore_errors=True)

    @property
    def size(self) -> int:
        """How many workers there are by now."""
        return len(self._workers)

    @property
    def busy(self) -> bool:
        return bool(self._held)

    @property
    def has_room(self) -> bool:
        return len(self._held) < IN_FLIGHT * (self._most or 0)

    def submit(self, job: Any) -> None:
        """Give work to the worker that holds least, a new one where all have some."""
        load = [0] * len(self._workers)
        for held in self._held.values():
            load[held.worker] += 1
        if min(load) and len(load) < (self._most or 0):
            self._workers.append(self._worker())
            load.append(0)
        chosen = load.index(min(load))
        actor = self._workers[chosen]
        reference = actor.work.remote(job)
        self._held[reference] = _Held(chosen, actor, job, time.monotonic())

    def collect(self, timeout_s: float) -> Iterator[tuple[Any, Any]]:
        """Finished work as (job, result), or (job, Lost) when its worker died."""
        import ray

        if not self._held:
            return
        ready, _ = ray.wait(
            list(self._held), num_returns=len(self._held), timeout=0, fetch_local=False
        )
        if not ready:
            ready, _ = ray.wait(list(self._held), num_returns=1, timeout=timeout_s)
        for reference in ready:
            held = self._held.pop(reference)
            try:
                result = ray.get(reference)
            except ray.exceptions.RayActorError as error:
                self._count_death(error)
                if self._workers[held.worker] is held.actor:
                    self._workers[held.worker] = self._worker()
                yield held.job, Lost("worker_died", str(error).splitlines()[0])
            except ray.exceptions.RayError as error:
                yield held.job, Lost("worker_error", str(error).strip().splitlines()[-1])
            else:
                self._deaths = 0
                self._restart_clock(held.worker)
                yield held.job, result

    def _count_death(self, error: Exception) -> None:
        """Give up when workers die without finishing anything: that is not the files' fault."""
        self._deaths += 1
        if self._deaths > MOST_DEATHS * len(self._workers):
            raise ClipmillError(
                f"workers die as soon as they start: {str(error).splitlines()[0]}",
                hint="look at the Ray logs in /tmp/ray, and at the memory of the machine",
            )

    def running(self) -> Iterator[tuple[object, Any, float]]:
        """Each piece of work that is being done, and since when."""
        seen: set[int] = set()
        for reference, held in self._held.items():
            if held.worker not in seen:
                seen.add(held.worker)
                yield reference, held.job, held.since

    def _restart_clock(self, worker: int) -> None:
        """The worker's next piece of work begins now."""
        for held in self._held.values():
            if held.worker == worker:
                held.since = time.monotonic()


def start_local(cpus: int) -> dict[str, Any]:
    """Start a cluster on this machine with what a run needs and no more; returns its addresses."""
    # Else Ray starts a process for each CPU before it knows what for.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    with _lean_nodes():
        return _init(address="local", num_cpus=cpus, include_dashboard=False)


def _init(**options: Any) -> dict[str, Any]:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or each actor warns of it
    context = ray.init(log_to_driver=False, logging_level="ERROR", **options)
    addresses: dict[str, Any] = context.address_info
    return addresses


@contextmanager
def _lean_nodes() -> Iterator[None]:
    """Nodes started meanwhile come without `IDLE_PARTS`, for which Ray has no setting."""
    from ray._private.node import Node

    parts = {name: vars(Node)[name] for name in IDLE_PARTS if name in vars(Node)}
    for name in parts:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, part in parts.items():
            setattr(Node, name, part)
