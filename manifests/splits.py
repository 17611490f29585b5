"""Splits belong to speakers, sessions, recordings and rooms, never to mixtures.

Conventions
    A *group* is a set of sources that share a speaker, session, recording or room, directly or through others; it goes
    to one split whole.
    Groups are ordered by a hash of (seed, group) and dealt out by share with the largest-remainder rule, at least one
    group per split. A source that its corpus fixes to a split takes its whole group there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from manifests.errors import UserError
from manifests.schema import Leak, Plan, Source

__all__ = ["assign", "group_keys", "leaks"]


def group_keys(source: Source) -> list[tuple[str, str]]:
    """What ties a source to others: (kind of tie, name)."""
    if source.kind == "rir":
        ties = [("room", source.room_id), ("recording", source.recording_id)]
    else:
        ties = [("speaker", source.speaker_id), ("session", source.session_id), ("recording", source.recording_id)]
    return [(kind, name) for kind, name in ties if name] or [("source", source.source_id)]


def assign(sources: Sequence[Source], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of every source, by `source_id`. Raises UserError where a split cannot be filled without leaking."""
    out: dict[str, str] = {}
    for kind in sorted({s.kind for s in sources}):
        out |= _assign_kind(kind, [s for s in sources if s.kind == kind], shares, seed)
    return out


def _assign_kind(kind: str, sources: Sequence[Source], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    groups = _groups(sources)
    fixed = {name: _fixed_split(kind, members, shares) for name, members in groups.items()}
    free = sorted((n for n, split in fixed.items() if split is None), key=lambda n: _hash(seed, kind, n))
    held = {split: sum(s == split for s in fixed.values()) for split in shares}
    counts = _deal(len(groups), shares, held)
    if any(counts[s] + held[s] == 0 for s in shares) or sum(counts.values()) != len(free):
        names = ", ".join(shares)
        raise UserError(
            f"{kind}: {len(groups)} group(s) that share no speaker, session, recording or room cannot fill the splits "
            f"{names} without leaking "
            f"(at least one group per split is needed). Add {kind} sources, ask for fewer splits, or give the sources "
            "finer labels"
        )
    dealt = iter(free)
    split_of = {next(dealt): split for split in sorted(shares) for _ in range(counts[split])}
    return {m.source_id: fixed[name] or split_of[name] for name, members in groups.items() for m in members}


def _fixed_split(kind: str, members: Sequence[Source], shares: Mapping[str, float]) -> str | None:
    splits = {m.split for m in members if m.split in shares}
    if len(splits) > 1:
        tie = ", ".join(f"{k} {v}" for k, v in group_keys(members[0]))
        raise UserError(
            f"{kind}: the corpus puts sources tied by {tie} into the splits {' and '.join(sorted(map(str, splits)))}: "
            "that leaks"
        )
    return next(iter(splits), None)


def _deal(groups: int, shares: Mapping[str, float], held: Mapping[str, int]) -> dict[str, int]:
    """How many free groups each split gets: largest remainder on the total, then at least one each.

    Splits are taken by name: their order in a recipe is no part of its digest.
    """
    free = groups - sum(held.values())
    exact = {s: max(share * groups - held[s], 0.0) for s, share in shares.items()}
    scale = free / (sum(exact.values()) or 1.0)
    counts = {s: int(value * scale) for s, value in exact.items()}
    order = sorted(shares, key=lambda s: (counts[s] - exact[s] * scale, s))
    for split in order[: free - sum(counts.values())]:
        counts[split] += 1
    for split in sorted(shares):
        givers = [s for s in sorted(shares) if counts[s] > 0 and counts[s] + held[s] > 1]
        if counts[split] + held[split] == 0 and givers:
            richest = max(givers, key=lambda s: counts[s])
            counts[split], counts[richest] = 1, counts[richest] - 1
    return counts


def _groups(sources: Sequence[Source]) -> dict[str, list[Source]]:
    """Connected components over shared ties, named by their smallest tie."""
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(tie: tuple[str, str]) -> tuple[str, str]:
        parent.setdefault(tie, tie)
        while parent[tie] != tie:
            parent[tie] = parent[parent[tie]]
            tie = parent[tie]
        return tie

    for source in sources:
        first, *rest = (root(tie) for tie in group_keys(source))
        for other in rest:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    out: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        out["=".join(root(group_keys(source)[0]))].append(source)
    return dict(out)


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def leaks(plans: Iterable[Plan], sources: Mapping[str, Source]) -> list[Leak]:
    """Every speaker, session, recording, room or source that rows of two splits share. Empty in a sound dataset."""
    seen: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for plan in plans:
        for tie in _ties(plan, sources):
            seen[tie][plan.split] += 1
    return [
        Leak(kind=kind, key=key, splits=sorted(by_split), rows=sum(by_split.values()))
        for (kind, key), by_split in sorted(seen.items())
        if len(by_split) > 1
    ]


def _ties(plan: Plan, sources: Mapping[str, Source]) -> set[tuple[str, str]]:
    used = {segment.source_id for talker in plan.talkers for segment in talker.segments}
    used |= {segment.source_id for noise in plan.noises for segment in noise.segments}
    used |= {talker.rir_source_id for talker in plan.talkers if talker.rir_source_id}
    used |= {noise.rir_source_id for noise in plan.noises if noise.rir_source_id}
    ties = {("source", name) for name in used}
    for name in used:
        ties |= {(f"{sources[name].kind} {kind}", key) for kind, key in group_keys(sources[name])}
    return ties | ({("room", plan.room.room_id)} if plan.room else set())
