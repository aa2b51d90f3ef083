"""What the routes work with: the stores behind them, and threads, since those block."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from litestar import Request

from mailworkers.adapters.previews import Previewer
from mailworkers.adapters.store import Effect
from mailworkers.adapters.store.pool import Connection, Pool
from mailworkers.core.commands import Command, Refusal, SourceKind
from mailworkers.core.retry import RetryPolicy
from mailworkers.core.states import Lane
from mailworkers.web.accepting import Accepted, Acceptor
from mailworkers.web.batching import Batcher

Outcome = TypeVar("Outcome")

# Connections that reads leave to others: login codes, commands, large bodies, the tokens. A slow
# search must not keep mail out.
_NOT_FOR_READS = 4


class Backend:
    """Runs questions and commands of the routes in threads of its own."""

    def __init__(
        self,
        pool: Pool,
        acceptor: Acceptor,
        previewer: Previewer,
        *,
        sources: dict[str, SourceKind],
        policies: Mapping[str, RetryPolicy],
        size: int,
    ) -> None:
        self.sources = sources
        self.policies = policies
        self.catalog = previewer.catalog
        self._previewer = previewer
        self._pool = pool
        self._acceptor = acceptor
        # Apart, so that whatever holds a batch of others up never holds a login code up.
        self._auth: Batcher[Command, Accepted | Refusal] = Batcher(acceptor.accept)
        self._others: Batcher[Command, Accepted | Refusal] = Batcher(acceptor.accept)
        self._readers = ThreadPoolExecutor(max(1, size - _NOT_FOR_READS), "read")
        self._large = ThreadPoolExecutor(1, "large")
        self._previews = ThreadPoolExecutor(1, "preview")

    async def ask(self, question: Callable[[Connection], Outcome]) -> Outcome:
        """Return what *question* finds in the database."""
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._answer, question
        )

    async def change(self, verb: Callable[[Connection], Effect | None]) -> Effect | None:
        """Return what *verb* did to a delivery, once whom it concerns was told."""

        def act(conn: Connection) -> Effect | None:
            effect = verb(conn)
            if effect is not None:
                self._acceptor.announce(effect)
            return effect

        return await self.ask(act)

    def wake_senders(self) -> None:
        """Tell idle senders that there may be work, without waiting for it to be told."""
        self._acceptor.wake_senders()

    def wake_scheduler(self) -> None:
        """Tell an idle scheduler that there may be work, without waiting for it to be told."""
        self._acceptor.wake_scheduler()

    def _answer(self, question: Callable[[Connection], Outcome]) -> Outcome:
        with self._pool.connection() as conn:
            return question(conn)

    async def accept(self, command: Command) -> Accepted | Refusal:
        """Make *command* durable, together with others that come at the same time."""
        batcher = self._auth if command.lane is Lane.AUTH else self._others
        return await batcher.submit(command)

    async def work(self, job: Callable[[Acceptor], Outcome]) -> Outcome:
        """Run *job*, large enough to hold others up, beside them."""
        return await asyncio.get_running_loop().run_in_executor(self._large, job, self._acceptor)

    async def take_in(self, act: Callable[[Connection, Acceptor], Outcome]) -> Outcome:
        """Return what *act* comes to: it accepts what is no new command."""
        return await self.ask(lambda conn: act(conn, self._acceptor))

    async def preview(self, job: Callable[[Previewer], Outcome]) -> Outcome:
        """Run *job*, which may take a rendering's whole budget, apart from mail."""
        return await asyncio.get_running_loop().run_in_executor(
            self._previews, job, self._previewer
        )

    def close(self) -> None:
        """Let go of threads and connections."""
        self._auth.close()
        self._others.close()
        for threads in (self._readers, self._large, self._previews):
            threads.shutdown(wait=False, cancel_futures=True)
        self._acceptor.close()
        self._pool.close()


def backend_of(request: Request[Any, Any, Any]) -> Backend:
    """Return the backend of the application that serves *request*."""
    backend: Backend = request.app.state.backend
    return backend
