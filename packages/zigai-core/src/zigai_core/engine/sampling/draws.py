"""Stateless random numbers: each is a function of the seed, the index in the reply and its purpose.

Without a state between draws, batching, draft tokens and rolled-back tokens do not change any number.
"""

from __future__ import annotations

_WORD = (1 << 64) - 1


class Draws:
    """The random numbers of one seed, an integer of at least 0.

    >>> Draws(7).uniform(3, "token") == Draws(7).uniform(3, "token") != Draws(7).uniform(4, "token")
    True
    """

    def __init__(self, seed: int) -> None:
        self._seed = _absorb(0, seed)

    def uniform(self, index: int, purpose: str, number: int = 0) -> float:
        """Draw `number` (from 0) for a purpose at `index` of the reply: a multiple of 2^-53 in [0, 1)."""
        state = _absorb(_absorb(self._seed, index), number)
        state = _absorb(state, int.from_bytes(purpose.encode("utf-8"), "little"))
        return float(state >> 11) * 2.0**-53


def _absorb(state: int, value: int) -> int:
    """Mix an integer of at least 0 into the state, 64 bits at a time, the lowest first."""
    while True:
        state = _mix((state ^ (value & _WORD)) + 0x9E3779B97F4A7C15 & _WORD)
        value >>= 64
        if not value:
            return state


def _mix(z: int) -> int:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195).

    A bijection of 64-bit numbers; constants as in S. Vigna's https://prng.di.unimi.it/splitmix64.c.
    """
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _WORD
    return z ^ (z >> 31)
