"""Who may decode now: at most so many requests at once, the others wait in the order in which they came.

Rule: a request that does not get its turn in time, or whose client has left, gives its place to the next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from .refusals import RefusedError

# How often a waiting request asks whether its client is still there; each question goes through Triton.
_ASK_EVERY_S = 0.25


class Ticket:
    """One request's place: it waits from `Slots.take_ticket` until its turn, and holds a slot until `Slots.leave`."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.has_slot = False


class Slots:
    """`parallel` slots and a queue of `queue_size` places, in each of which one waits `timeout_s` at most."""

    def __init__(self, parallel: int, queue_size: int, timeout_s: float) -> None:
        self._free = parallel
        self._queue_size = queue_size
        self._timeout_s = timeout_s
        self._waiting: deque[Ticket] = deque()
        self._changed = threading.Condition()

    def take_ticket(self) -> Ticket:
        """A place. Raises RefusedError at once when the queue is full."""
        ticket = Ticket(time.monotonic() + self._timeout_s)
        with self._changed:
            if self._free > 0 and not self._waiting:
                self._free -= 1
                ticket.has_slot = True
            elif len(self._waiting) >= self._queue_size:
                raise RefusedError(f"the queue is full: {self._queue_size} requests wait already", "UNAVAILABLE")
            else:
                self._waiting.append(ticket)
        return ticket

    def wait(self, ticket: Ticket, is_cancelled: Callable[[], bool]) -> None:
        """Returns when it is this ticket's turn. Raises RefusedError: too late, or the client has left."""
        while not ticket.has_slot:
            with self._changed:
                self._changed.wait_for(lambda: ticket.has_slot, min(_ASK_EVERY_S, self._left_s(ticket)))
                if ticket.has_slot:
                    return
            if is_cancelled():
                raise RefusedError("the client has left", "CANCELLED")
            if self._left_s(ticket) <= 0:
                raise RefusedError(f"waited {self._timeout_s:g} s for a free slot in vain", "UNAVAILABLE")

    def leave(self, ticket: Ticket) -> None:
        """Gives the ticket's slot, or its place in the queue, to the next."""
        with self._changed:
            if ticket.has_slot:
                self._free += 1
            else:
                self._waiting.remove(ticket)
            while self._free > 0 and self._waiting:
                self._waiting.popleft().has_slot = True
                self._free -= 1
            self._changed.notify_all()

    @staticmethod
    def _left_s(ticket: Ticket) -> float:
        return max(0.0, ticket.deadline - time.monotonic())
