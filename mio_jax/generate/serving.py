"""A thread that answers requests from other threads, all on the rows of one engine."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.generate.batched import BatchedEngine, Request

SECONDS = 1.0  # between two looks at whether the thread is still there

# What a request's box gets: its ticket or why it is refused, then pieces, then None or why it ended.
Box = queue.SimpleQueue[Any]


class Server:
    """Takes requests from any thread; one thread of its own runs the engine.

    Args:
      batched: belongs to the server from here on.
    """

    def __init__(self, batched: BatchedEngine) -> None:
        self._batched = batched
        self._boxes: dict[int, Box] = {}
        self._inbox: queue.SimpleQueue[tuple[Request, Box] | int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="mio-server", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> int:
        """Requests that run or wait."""
        return len(self._boxes)

    def ask(self, request: Request) -> Iterator[np.ndarray]:
        """int32 [n] pieces of the answer as they come. An iterator that is closed early takes its request out.

        Raises MioError as `BatchedEngine.submit` does, at once; and while reading, if the server ends.
        """
        box: Box = queue.SimpleQueue()
        self._inbox.put((request, box))
        return self._pieces(self._next(box), box)

    def close(self) -> None:
        """Ends the thread; answers that are not complete end with an error."""
        self._inbox.put(None)
        self._thread.join()

    def _next(self, box: Box) -> Any:
        """What comes next into a box; errors are raised."""
        while True:
            try:
                item = box.get(timeout=SECONDS)
            except queue.Empty:
                if self._thread.is_alive():
                    continue
                raise MioError("the server was closed before the answer was complete") from None
            if isinstance(item, Exception):
                raise item
            return item

    def _pieces(self, ticket: int, box: Box) -> Iterator[np.ndarray]:
        complete = False
        try:
            while (piece := self._next(box)) is not None:
                yield piece
            complete = True
        finally:
            if not complete:
                self._inbox.put(ticket)

    def _serve(self) -> None:
        reason: Exception = MioError("the server was closed before the answer was complete")
        try:
            while self._read_inbox():
                for ticket, ids, done in self._batched.step():
                    self._boxes[ticket].put(ids)
                    if done:
                        self._boxes.pop(ticket).put(None)
        except Exception as error:  # whoever waits for an answer hears of it
            reason = error
        for box in self._boxes.values():
            box.put(reason)
        self._boxes.clear()

    def _read_inbox(self) -> bool:
        """Takes in what has come, waiting for it where there is nothing else to do. False: the server is to end."""
        wait = self._batched.idle
        while True:
            try:
                item = self._inbox.get(block=wait)
            except queue.Empty:
                return True
            wait = False
            if item is None:
                return False
            if isinstance(item, int):
                if self._boxes.pop(item, None) is not None:
                    self._batched.cancel(item)
                wait = self._batched.idle
                continue
            request, box = item
            try:
                ticket = self._batched.submit(request)
            except MioError as error:
                box.put(error)
                wait = self._batched.idle
                continue
            self._boxes[ticket] = box
            box.put(ticket)
