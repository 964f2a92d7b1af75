"""Which challenger has which requests: shares equal weights, cohorts only grow, the hash is the documented one."""

from __future__ import annotations

import collections
import itertools
import math
import random
import re
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sluiceway.serving.split import BITS, CHAMPION, POINTS, Part, Split, key_prefix, parts_of, point_of

PRIMES = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261)
WORD = (1 << 64) - 1


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0, written down from its specification and not from the library that the split uses."""
    first, second, third, fourth, fifth = PRIMES

    def rotated(value: int, by: int) -> int:
        return (value << by | value >> (64 - by)) & WORD

    def mixed(state: int, word: int) -> int:
        return rotated((state + word * second) & WORD, 31) * first & WORD

    rest = data
    if len(data) >= 32:
        states = [(first + second) & WORD, second, 0, -first & WORD]
        while len(rest) >= 32:
            states = [mixed(s, int.from_bytes(rest[8 * i : 8 * i + 8], "little")) for i, s in enumerate(states)]
            rest = rest[32:]
        found = sum(rotated(s, by) for s, by in zip(states, (1, 7, 12, 18), strict=True)) & WORD
        for state in states:
            found = ((found ^ mixed(0, state)) * first + fourth) & WORD
    else:
        found = fifth
    found = (found + len(data)) & WORD
    while len(rest) >= 8:
        found = (rotated(found ^ mixed(0, int.from_bytes(rest[:8], "little")), 27) * first + fourth) & WORD
        rest = rest[8:]
    if len(rest) >= 4:
        found = (rotated(found ^ int.from_bytes(rest[:4], "little") * first & WORD, 23) * second + third) & WORD
        rest = rest[4:]
    for byte in rest:
        found = rotated(found ^ byte * fifth & WORD, 11) * first & WORD
    found = (found ^ found >> 33) * second & WORD
    found = (found ^ found >> 29) * third & WORD
    return found ^ found >> 32


@st.composite
def weights(draw, least=1, most=6):
    """Weights of challengers that leave the champion something or nothing."""
    shares = draw(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=least, max_size=most))
    total = sum(shares)
    return [share / total if total > 1 else share for share in shares]


@st.composite
def growing(draw, least=1, most=6):
    """Weights, and others of which none is less."""
    after = draw(weights(least, most))
    return [weight * draw(st.floats(0, 1)) for weight in after], after


def owner(parts, at):
    return next((part.challenger for part in parts if part.start <= at < part.end), CHAMPION)


def measure(parts, challenger):
    return sum((part.end - part.start for part in parts if part.challenger == challenger), Fraction(0))


def pieces(*of):
    """Places between all ends, so that nothing changes between two of them."""
    ends = sorted(
        {Fraction(0), Fraction(1), *(end for parts in of for part in parts for end in (part.start, part.end))}
    )
    return [(low + high) / 2 for low, high in itertools.pairwise(ends)]


def fits(given_weights):
    """Whether no segment is asked for more than it has: places are 0, 1, 1/2, 1/2, 1/4, 1/4, 3/4 ..."""
    places = [Fraction(0), Fraction(1), *(Fraction(1, 2),) * 2, *(Fraction(1, 4),) * 2, *(Fraction(3, 4),) * 2]
    used = places[: len(given_weights)]
    cuts = sorted({Fraction(0), Fraction(1), *used})
    for low, high in itertools.pairwise(cuts):
        inside = [
            Fraction(weight) for i, weight in enumerate(given_weights) if used[i] == (low if i % 2 == 0 else high)
        ]
        if sum(inside) > high - low:
            return False
    return True


@settings(deadline=None)
@given(weights())
def test_a_part_is_exactly_as_long_as_the_weight(shares):
    assume(sum(Fraction(share) for share in shares) <= 1)
    parts = parts_of(shares)
    assert [measure(parts, i) for i in range(len(shares))] == [Fraction(share) for share in shares]


@settings(deadline=None)
@given(weights())
def test_parts_lie_in_order_without_overlaps_and_with_the_champions_they_are_all(shares):
    parts = parts_of(shares)
    ends = [end for part in parts for end in (part.start, part.end)]
    assert ends == sorted(ends)
    assert all(0 <= end <= 1 for end in ends)
    champions = 1 - sum((part.end - part.start for part in parts), Fraction(0))
    assert champions == max(Fraction(0), 1 - sum(Fraction(share) for share in shares))


@settings(max_examples=150, deadline=None)
@given(growing(most=2))
def test_of_two_challengers_no_key_moves_but_from_the_champion(pair):
    # 0.2 and 0.8 are a little more than 1 together; the second gives way by less than two keys are apart.
    assume(all(sum(map(Fraction, given_weights)) <= 1 for given_weights in pair))
    before, after = map(parts_of, pair)
    for at in pieces(before, after):
        assert owner(before, at) in (CHAMPION, owner(after, at))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(growing(least=3, most=8))
def test_of_more_no_key_moves_while_each_pair_fits_its_segment(pair):
    assume(fits(pair[1]))
    before, after = map(parts_of, pair)
    for at in pieces(before, after):
        assert owner(before, at) in (CHAMPION, owner(after, at))


@settings(max_examples=150, deadline=None)
@given(growing(least=3, most=8))
def test_however_they_grow_no_key_goes_back_to_the_champion(pair):
    before, after = map(parts_of, pair)
    assume(sum(Fraction(share) for share in pair[1]) <= 1)
    for at in pieces(before, after):
        assert owner(before, at) == CHAMPION or owner(after, at) != CHAMPION


def test_the_promise_for_three_is_broken_where_the_documentation_says():
    # The second and the third share the upper half; the second has gone on into it beyond its quarter.
    before, after = parts_of([0.125, 0.375, 0.125]), parts_of([0.125, 0.375, 0.25])
    moved = [at for at in pieces(before, after) if owner(before, at) not in (CHAMPION, owner(after, at))]
    assert [(owner(before, at), owner(after, at)) for at in moved] == [(1, 2)]
    assert before[-1] == Part(Fraction(5, 8), Fraction(1), 1)
    assert owner(after, Fraction(7, 16)) == 1  # what was left over went on, down into the lower half


@settings(deadline=None)
@given(weights(least=1, most=3), st.floats(0, 1))
def test_one_more_challenger_moves_nobody_while_there_is_room(shares, share):
    more = [*shares, share]
    assume(sum(Fraction(one) for one in more) <= 1 and fits(shares) and fits(more))
    before, after = parts_of(shares), parts_of(more)
    for at in pieces(before, after):
        assert owner(before, at) in (CHAMPION, owner(after, at))


@settings(deadline=None)
@given(weights(), st.integers(0, POINTS - 1))
def test_a_point_belongs_to_whose_part_it_lies_in(shares, point):
    split = Split(shares, salt="")
    assert split.at(point) == owner(split.parts, Fraction(point, POINTS))


@settings(deadline=None)
@given(weights())
def test_the_ends_of_parts_are_decided_exactly(shares):
    split = Split(shares, salt="")
    for part in split.parts:
        for point in {math.floor(part.start * POINTS), math.ceil(part.start * POINTS), math.ceil(part.end * POINTS)}:
            if 0 <= point < POINTS:
                assert split.at(point) == owner(split.parts, Fraction(point, POINTS))


@settings(deadline=None)
@given(st.text(), st.text(max_size=40), weights())
def test_a_key_falls_where_the_documented_hash_says_and_stays(key, salt, shares):
    data = salt.encode("utf-8", "surrogatepass") + b"\n" + key.encode("utf-8", "surrogatepass")
    point = xxh64(data) >> 11
    assert point_of(key_prefix(salt), key) == point
    split = Split(shares, salt=salt)
    assert split.of_key(key) == split.of_key(key) == owner(split.parts, Fraction(point, POINTS))


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5])
def test_another_salt_gives_other_cohorts(weight):
    keys = [f"user-{i}" for i in range(20_000)]
    first, second = (Split([weight], salt=salt) for salt in ("r1", "r2"))
    a, b = ([split.of_key(key) == 0 for key in keys] for split in (first, second))
    both = sum(x and y for x, y in zip(a, b, strict=True)) / len(keys)
    # Independent: both with the product of the shares, within 5 standard errors.
    expected = weight * weight
    assert abs(both - expected) < 5 * math.sqrt(expected * (1 - expected) / len(keys))


@pytest.mark.parametrize("shares", [[0.1], [0.05, 0.3], [0.2, 0.3, 0.1], [0.1, 0.2, 0.3, 0.15, 0.05]], ids=len)
@pytest.mark.parametrize("how", ["keys", "chance"])
def test_the_shares_of_20_000_requests_are_within_4_standard_errors(shares, how):
    split = Split(shares, salt="rollout/1")
    n = 20_000
    state = random.getstate()
    random.seed(11)
    counts = collections.Counter(
        split.of_key(f"customer-{i}") if how == "keys" else split.by_chance() for i in range(n)
    )
    random.setstate(state)
    for challenger, share in enumerate(shares):
        assert abs(counts[challenger] / n - share) <= 4 * math.sqrt(share * (1 - share) / n), challenger
    left = 1 - sum(shares)
    assert abs(counts[CHAMPION] / n - left) <= 4 * math.sqrt(left * (1 - left) / n)


@pytest.mark.parametrize(("shares", "all_of"), [([], CHAMPION), ([0.0], CHAMPION), ([1.0], 0), ([0.0, 1.0], 1)])
def test_nothing_and_everything_have_no_exceptions(shares, all_of):
    split = Split(shares, salt="")
    assert {split.at(point) for point in (0, 1, POINTS // 2, POINTS - 1)} == {all_of}
    assert split.of_key("x") == split.by_chance() == all_of


def test_weights_whose_sum_is_a_little_more_than_one_still_fit():
    shares = [0.1] * 3 + [0.7 + 1e-12]
    parts = parts_of(shares)
    assert sum((part.end - part.start for part in parts), Fraction(0)) == 1
    for part, after in itertools.pairwise(parts):
        assert part.end == after.start


def test_the_worked_example_of_the_documentation(repository):
    """The numbers of docs/serving/traffic.md, computed again without the code and without the library."""
    text = (repository / "docs" / "serving" / "traffic.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| `([0-9a-f]{16})` \| (0\.\d+) \| (\w+) \|$", text, flags=re.MULTILINE)
    assert len(rows) >= 3
    for salt, key, digest, place, arm in rows:
        found = xxh64(f"{salt}\n{key}".encode())
        assert f"{found:016x}" == digest
        assert f"{(found >> 11) / 2**53:.6f}" == place
        assert arm == ("challenger" if (found >> 11) / 2**53 < 0.1 else "champion")
        assert Split([0.1], salt=salt).of_key(key) == (0 if arm == "challenger" else CHAMPION)
    assert {arm for *_, arm in rows} == {"challenger", "champion"}
    assert BITS == 53
