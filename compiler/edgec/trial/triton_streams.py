"""What streams must show: their pieces come one after the other, and the work for clients that leave stops.

Rule: how quickly this machine does things is no verdict on a bundle. The best of several tries counts, and what none
of them could show, because all was over too soon, is said and not failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.prove.model import Check
from edgec.trial.triton_client import Streamed
from edgec.trial.verdicts import at_least, at_most, not_judged

# Pieces that one read found together in the socket are taken apart within less time than this.
_APART_S = 0.0005
_LEAST_ARRIVALS = 4
# A whole answer that takes less time may be over before a busy machine lets the client look.
_JUDGED_S = 2.0
# What a client that leaves has paid for at most, if its work stops.
_MOST_SHARE = 0.8


@dataclass(frozen=True)
class Leaver:
    """A client that left `left_s` after it had asked; `share`: of the whole answer's tokens, generated for it."""

    left_s: float
    share: float


def arrivals(streamed: Streamed) -> int:
    """How often something came: pieces that came together are one arrival."""
    times = streamed.arrivals_s
    return sum(1 for at, before in zip(times, (-1.0, *times), strict=False) if at - before > _APART_S)


def streaming_shown(streamed: Streamed) -> bool:
    """Whether this answer came in pieces, one after the other."""
    return arrivals(streamed) >= _LEAST_ARRIVALS


def streaming_check(tries: Sequence[Streamed], *, hint: str) -> Check:
    """The verdict on long answers, asked for one after the other."""
    name = "streamed while it is generated"
    best = max(tries, key=arrivals)
    took_s, tokens = best.arrivals_s[-1], int(best.last["completion_tokens"])
    if not streaming_shown(best):
        if tokens < 2 * _LEAST_ARRIVALS:
            return not_judged(name, f"the longest answer had {tokens} tokens")
        # One piece for many tokens is no matter of time.
        if len(best.pieces) >= 2 * _LEAST_ARRIVALS and took_s < _JUDGED_S:
            return not_judged(name, f"{len(best.pieces)} pieces came within {took_s:.2f} s")
    return at_least(
        name, arrivals(best), _LEAST_ARRIVALS, "separate arrivals",
        detail=f"{len(best.pieces)} pieces in {took_s:.2f} s, the best of {len(tries)} tries", hint=hint,
    )  # fmt: skip


def leaving_shown(leaver: Leaver) -> bool:
    """Whether the work for this client stopped."""
    return leaver.share <= _MOST_SHARE


def leaving_check(leavers: Sequence[Leaver], whole: Streamed, *, hint: str) -> Check:
    """The verdict on clients that left, one after the other, answers like `whole`."""
    name = "tokens generated when a client leaves"
    best = min(leavers, key=lambda leaver: leaver.share)
    took_s = whole.arrivals_s[-1]
    if not leaving_shown(best) and took_s - min(leaver.left_s for leaver in leavers) < _JUDGED_S:
        return not_judged(name, f"whole answers took {took_s:.2f} s, too short to leave early")
    return at_most(
        name, best.share, _MOST_SHARE, "of the whole answer",
        detail=f"the best of {len(leavers)}, which left after {best.left_s:.2f} of {took_s:.2f} s", hint=hint,
    )  # fmt: skip
