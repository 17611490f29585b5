"""The tables: one frozen dataclass per row kind, and the Arrow schema that follows from it.

Conventions
    The unit is in the name (`snr_db`, `rt60_s`, `level_dbfs`); no unit means linear or a count. `None` means unknown or
    not applicable, never 0, -1 or "". Positions in audio are samples per channel at the rate named beside them.
    A mapping is a list of (key, value) structs, because Arrow's map type is not readable everywhere.
    Audio is `struct<bytes: binary, path: string>`, the layout that Hugging Face `datasets` plays.

The Arrow schema is derived from the annotations, so a column exists once, here. `X | None` becomes a nullable field.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

__all__ = [
    "OUTPUT_VERSION",
    "SCHEMA_VERSION",
    "Array",
    "Audio",
    "BandMeasure",
    "Degradation",
    "Direction",
    "Dropped",
    "Estimate",
    "Failed",
    "Finding",
    "KeyNumber",
    "KeyNumbers",
    "KeyText",
    "Leak",
    "Mixture",
    "NoiseMeasure",
    "NoiseTrack",
    "Output",
    "Panel",
    "Pattern",
    "Plan",
    "Rating",
    "Room",
    "Score",
    "Segment",
    "Source",
    "System",
    "Talker",
    "TalkerMeasure",
    "Timing",
    "Traced",
    "arrow_schema",
    "audio_columns",
    "from_table",
    "table_name",
    "talker_targets",
    "to_table",
]

SCHEMA_VERSION = 2
"""Changes when a column changes its name, type or meaning."""

OUTPUT_VERSION = 2
"""Changes whenever audio, ids or scores change for the same recipe. A golden file in the tests enforces it."""


@dataclass(frozen=True)
class Audio:
    """Encoded audio: `bytes` of a FLAC or WAV file, `path` its name (the suffix tells the format)."""

    bytes: bytes
    path: str


@dataclass(frozen=True)
class KeyNumber:
    key: str
    value: float


@dataclass(frozen=True)
class KeyNumbers:
    key: str
    values: list[float]


@dataclass(frozen=True)
class KeyText:
    key: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """One recording of a corpus, as `hubbub scan` found it.

    `source_id` hashes the decoded samples and the rate. `peak` and `clipped_fraction` are the largest over channels,
    `dc` the one largest in magnitude; levels, activity and bandwidth are measured on channel 0.
    """

    source_id: str
    kind: str  # speech | noise | rir | music | other
    uri: str
    status: str  # ok | rejected
    reason: str | None = None
    message: str | None = None
    frames: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    duration_s: float | None = None
    format: str | None = None
    subtype: str | None = None
    bandwidth_hz: float | None = None
    peak: float | None = None
    clipped_fraction: float | None = None
    dc: float | None = None
    rms_dbfs: float | None = None
    active_level_dbfs: float | None = None
    activity: float | None = None
    lufs: float | None = None
    corpus: str | None = None
    recording_id: str | None = None
    session_id: str | None = None
    speaker_id: str | None = None
    gender: str | None = None
    language: str | None = None
    transcript: str | None = None
    labels: list[str] = field(default_factory=list)
    noise_class: str | None = None
    room_id: str | None = None
    rt60_s: float | None = None
    licence: str | None = None
    attribution: str | None = None
    split: str | None = None
    screens: list[KeyNumber] = field(default_factory=list)
    extra: list[KeyText] = field(default_factory=list)
    size_bytes: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of one channel of one source, and where it goes.

    `start` and `frames` count at the source's own `sample_rate`; `at` and `length` at the mixture's. Where a segment
    begins before its predecessor ends, the two are cross-faded with equal power over the overlap.
    """

    source_id: str
    channel: int
    sample_rate: int
    start: int
    frames: int
    at: int
    length: int


@dataclass(frozen=True)
class Pattern:
    """Directivity of a source or a microphone: gain omni + (1 - omni) cos(angle to `axis`), a unit vector."""

    omni: float
    axis: list[float]


@dataclass(frozen=True, kw_only=True)
class Talker:
    """One talker of a mixture. Talker 0 is the target; its level is absolute, the others' are relative to it
    (`sir_db`). A moving talker has a `trajectory_m`: its positions at equal time steps from the first to the last
    sample of the mixture, of which `position_m` is the first.
    """

    role: str  # target | interferer
    speaker_id: str | None
    segments: list[Segment]
    level_dbfs: float | None
    level_kind: str
    sir_db: float | None = None
    transcript: str | None = None
    language: str | None = None
    gender: str | None = None
    position_m: list[float] | None = None
    trajectory_m: list[list[float]] = field(default_factory=list)
    pattern: Pattern | None = None
    rir_source_id: str | None = None
    rir_channels: list[int] = field(default_factory=list)
    rir_sample_rate: int | None = None


@dataclass(frozen=True, kw_only=True)
class NoiseTrack:
    """One noise of a mixture: segments of one recording, looped with cross-fades at `loop_seams` where it is too
    short.

    `place` says how it reaches the microphones: `dry` (the same on each), `point` (a source at `position_m`, or behind
    a measured RIR, in the talkers' room), `own_room` (a source in `Plan.noise_room`), `diffuse` (isotropic, with
    `coherence`, made of this track and of `more_inputs`, other stretches of the recording, one per further
    microphone). A noise in a room is on for `preroll` samples before the mixture begins; its segments count from there.
    """

    source_id: str
    recording_id: str | None
    noise_class: str | None
    segments: list[Segment]
    loop_seams: list[int]
    snr_db: float
    snr_kind: str
    place: str = "dry"
    position_m: list[float] | None = None
    rir_source_id: str | None = None
    rir_channels: list[int] = field(default_factory=list)
    rir_sample_rate: int | None = None
    preroll: int = 0
    coherence: str | None = None  # spherical | cylindrical
    more_inputs: list[list[Segment]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Array:
    """The microphones: where they are in the room, and how they came there.

    `positions_m` are those of the written channels in order, the reference first; `channels` their numbers in the
    preset. `rotation_deg` is yaw, pitch and roll about `centre_m`. `patterns` is empty for omnidirectional microphones.
    """

    preset: str
    positions_m: list[list[float]]
    centre_m: list[float]
    rotation_deg: list[float]
    channels: list[int]
    patterns: list[Pattern] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """An occluding wall patch in a room: its corners, in order, and its energy absorption per band."""

    corners_m: list[list[float]]
    absorption: list[float]


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What only the engine `pyroomacoustics` knows: a floor plan (empty for a shoebox), scattering, rays, panels."""

    floor_m: list[list[float]]
    max_order: int
    ray_tracing: bool
    scattering: float
    panels: list[Panel] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Room:
    """The room of a mixture: `measured` (RIRs from a corpus), or simulated as a `shoebox` or by `pyroomacoustics`.

    `absorption` has a row per band of `bands_hz` (one row where that is empty) and a column per wall: west, east,
    south, north, floor, ceiling. It is the predicted one; rendering corrects it where the RT60 it gives is off, and
    stores by how much (`Mixture.absorption_scale`). `rt60_requested_s` is null where materials were asked for.
    `tail_after_ms` is null where all of a response is exact.
    """

    engine: str
    room_id: str
    size_m: list[float] | None = None
    rt60_requested_s: float | None = None
    rt60_tolerance: float | None = None
    absorption: list[list[float]] = field(default_factory=list)
    bands_hz: list[float] = field(default_factory=list)
    air_db_per_m: list[float] = field(default_factory=list)
    jitter_m: float = 0.0
    tail_after_ms: float | None = None
    seed: int = 0
    array: Array | None = None
    traced: Traced | None = None
    min_onset_confidence: float = 0.0  # measured RIRs below it are refused
    redraws: int = 0


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """One operation on the mixed signals, in order; `params` holds its numbers, one per channel where it has more."""

    op: str  # clock
    target_follows: bool
    params: list[KeyNumbers]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every choice made for one mixture; no audio has been read."""

    mixture_id: str
    split: str
    index: int
    dataset: str
    seed: int
    sample_rate: int
    frames: int
    resampler: str | None
    target_kind: str  # dry_aligned | anechoic | direct | direct_window | early | image
    early_ms: float | None
    window_ms: list[float]  # of direct_window: before and after the direct sound; empty for other targets
    talkers: list[Talker]
    noises: list[NoiseTrack]
    room: Room | None
    noise_room: Room | None
    degradations: list[Degradation]
    labels_hz: float
    licences: list[str]
    condition: list[KeyText] = field(default_factory=list)


@dataclass(frozen=True)
class BandMeasure:
    """Room acoustics in one octave band."""

    centre_hz: float
    rt60_s: float | None
    edt_s: float | None
    c50_db: float | None


@dataclass(frozen=True)
class Direction:
    """Where a talker is at a time, seen from the array's centre: azimuth counter-clockwise from the room's x axis."""

    time_s: float
    azimuth_deg: float
    elevation_deg: float
    distance_m: float


@dataclass(frozen=True, kw_only=True)
class TalkerMeasure:
    """What was measured on one talker's image at the reference channel, after the common gain, and on its RIR.

    `channel_delays_samples` is the time of flight to each microphone. A moving talker's RIR is that of its first
    position; `directions` has one entry per label frame, or one in all where it stands still.
    """

    level_dbfs: float | None
    rms_dbfs: float | None
    activity: float | None
    sir_db: float | None
    direct_delay_samples: float | None
    onset_samples: int | None
    distance_m: float | None
    azimuth_deg: float | None
    elevation_deg: float | None
    rt60_s: float | None
    edt_s: float | None
    drr_db: float | None
    c50_db: float | None
    onset_confidence: float | None
    bands: list[BandMeasure]
    channel_delays_samples: list[float]
    directions: list[Direction]


@dataclass(frozen=True, kw_only=True)
class NoiseMeasure:
    """Level of one noise after the common gain, the SNR of talker 0 over it under each definition, and where it is."""

    rms_dbfs: float | None
    snr_p56_active_db: float | None
    snr_rms_active_db: float | None
    snr_rms_db: float | None
    snr_lufs_lu: float | None
    snr_peak_db: float | None
    distance_m: float | None = None
    azimuth_deg: float | None = None
    elevation_deg: float | None = None
    coherence_error: float | None = None  # diffuse: largest |coherence - theory| over third octaves and pairs


@dataclass(frozen=True, kw_only=True)
class Mixture(Plan):
    """A rendered mixture: all of its plan, what was measured on the written signals, and the audio.

    `snr_db` is talker 0 over the sum of all noises under the recipe's definition `snr_kind`, measured after rounding to
    the written
    format. Columns from `duration_s` to `transcript` repeat facts of the nested columns so that tables can be sliced by
    them.

    `rt60_status` says whether the simulated room has the RT60 asked for: `ok`, `off` (corrections did not bring it
    within tolerance), `unmeasurable` (the response decays less than T30 needs); null without a request. Amplitudes of
    reflection were raised to `absorption_scale` against the plan's to get there, in `simulations` tries.
    """

    duration_s: float
    snr_db: float | None
    snr_kind: str | None
    sir_db: float | None
    overlap_ratio: float | None
    level_dbfs: float | None
    gain_db: float
    gain_reason: str | None
    peak: float
    residual_dbfs: float | None
    channels: int
    reverberant: bool
    moving: bool
    array_preset: str | None
    noise_place: str | None
    room_engine: str | None
    rt60_s: float | None
    rt60_status: str | None
    absorption_scale: float | None
    simulations: int | None
    drr_db: float | None
    distance_m: float | None
    azimuth_deg: float | None
    speaker_id: str | None
    language: str | None
    gender: str | None
    noise_class: str | None
    bandwidth_hz: float | None
    transcript: str | None
    talker_measures: list[TalkerMeasure]
    noise_measures: list[NoiseMeasure]
    sha256: list[KeyText]
    sources_digest: str
    mixture: Audio | None = None
    target: Audio | None = None
    noise: Audio | None = None
    image: Audio | None = None
    early: Audio | None = None
    late: Audio | None = None
    direct: Audio | None = None
    direct_window: Audio | None = None
    reverb: Audio | None = None
    anechoic: Audio | None = None
    dry_aligned: Audio | None = None
    talker_1: Audio | None = None
    talker_2: Audio | None = None
    talker_3: Audio | None = None
    talker_4: Audio | None = None
    talker_5: Audio | None = None
    target_1: Audio | None = None
    target_2: Audio | None = None
    target_3: Audio | None = None
    target_4: Audio | None = None
    target_5: Audio | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """One named output of a system: audio, or the text that it understood."""

    name: str
    audio: Audio | None = None
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a system produced for one mixture. `status` is `ok`, `ok_len` (wrong length, kept) or `failed` with a
    reason.
    """

    system_id: str
    mixture_id: str
    status: str
    reason: str | None
    message: str | None
    sample_rate: int | None
    length_delta: int | None
    outputs: list[Output]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One metric of one output of one system on one mixture.

    `status` is one of `ok`, `ok_len`, `floor`, `excluded_ref`, `too_short`, `crashed`, `timeout`, `missing`, `error`,
    `skipped`; `value` is null for those that give no number. `reference` names the stem compared with. `length_delta`
    and `lag` are in samples (estimate minus reference). `permutation` has for each reference the place of its estimate
    among the outputs in order of their names, -1 for none; it is empty where nothing was permuted. `counts` holds what
    a pooled metric is summed from.
    """

    system_id: str
    mixture_id: str
    output: str
    metric: str
    value: float | None
    status: str
    reason: str | None
    reference: str
    sample_rate: int | None
    resampler: str | None
    length_delta: int | None
    lag: int | None
    permutation: list[int]
    counts: list[KeyNumber]
    flags: list[str]
    metric_version: str


@dataclass(frozen=True, kw_only=True)
class Rating:
    """What people said of one system on one mixture: one rater's answer, or the mean of `n` of them.

    `scale` names the question (`MOS`, `P.835 SIG`, `MUSHRA`, ...).
    """

    rating_id: str
    system_id: str
    mixture_id: str
    scale: str
    value: float
    rater: str | None
    n: int | None
    std: float | None


@dataclass(frozen=True, kw_only=True)
class System:
    """A system as it was run on a dataset."""

    system_id: str
    name: str
    kind: str
    sample_rate: int | None
    settings: list[KeyText]
    asset_sha256: list[KeyText]
    licence: str | None
    url: str | None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one item of a stage cost. Kept apart from the data so that data stay the same bytes in every run."""

    stage: str
    id: str
    system_id: str | None
    seconds_compute: float
    seconds_audio: float | None


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A row that a rule refused."""

    stage: str
    id: str
    reason: str
    message: str
    source_id: str | None
    shard: str


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A row that raised something unexpected, crashed its process or ran out of time."""

    stage: str
    id: str
    reason: str
    message: str
    source_id: str | None
    shard: str
    traceback_digest: str | None
    traceback: str | None


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A speaker, session, recording, room or source that two splits share."""

    kind: str
    key: str
    splits: list[str]
    rows: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A promise that a row of a dataset does not keep, found by `hubbub check`."""

    mixture_id: str
    rule: str
    message: str


TABLES: dict[str, type] = {
    "sources": Source,
    "plan": Plan,
    "mixtures": Mixture,
    "estimates": Estimate,
    "scores": Score,
    "systems": System,
    "timings": Timing,
    "dropped": Dropped,
    "failed": Failed,
    "leaks": Leak,
    "findings": Finding,
    "ratings": Rating,
}

Row = TypeVar("Row")

_SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}
_ATOMS = frozenset({*_SCALARS, type(None)})


def table_name(row_type: type) -> str:
    """The name of the table whose rows are `row_type`."""
    return next(name for name, kind in TABLES.items() if kind is row_type)


def _arrow_type(annotation: Any) -> tuple[pa.DataType, bool]:
    """Arrow type of an annotation, and whether it may be null."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (inner,) = [a for a in typing.get_args(annotation) if a is not type(None)]
        return _arrow_type(inner)[0], True
    if typing.get_origin(annotation) is list:
        (item,) = typing.get_args(annotation)
        return pa.list_(_arrow_type(item)[0]), False
    if annotation is Audio:  # nullable members, as Hugging Face writes them: its reader compares the types exactly
        return pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]), False
    if dataclasses.is_dataclass(annotation):
        return pa.struct(_fields(typing.cast(type, annotation), nullable=True)), False
    return _SCALARS[annotation], False


def _fields(row_type: type, *, nullable: bool = False) -> list[pa.Field]:
    hints = typing.get_type_hints(row_type)
    out = []
    for name in (f.name for f in dataclasses.fields(row_type)):
        kind, optional = _arrow_type(hints[name])
        out.append(pa.field(name, kind, nullable=nullable or optional))
    return out


def audio_columns(row_type: type) -> list[str]:
    """Names of the columns of `row_type` that hold audio."""
    hints = typing.get_type_hints(row_type)
    return [f.name for f in dataclasses.fields(row_type) if Audio in typing.get_args(hints[f.name])]


def talker_targets(columns: Iterable[str]) -> list[str]:
    """Those of `columns` that hold the target of one talker: `target_1`, `target_2`, ..."""
    known = [name for name in audio_columns(Mixture) if name.startswith("target_")]
    there = set(columns)
    return [name for name in known if name in there]


@functools.cache
def arrow_schema(row_type: type, columns: tuple[str, ...] | None = None, sample_rate: int | None = None) -> pa.Schema:
    """The Arrow schema of a table; `columns` keeps only those (in schema order).

    With audio columns, the schema carries the `huggingface` metadata that makes `datasets` decode and play them at
    `sample_rate`.
    """
    fields = [f for f in _fields(row_type) if columns is None or f.name in columns]
    metadata = {"hubbub.schema": f"{table_name(row_type)}/{SCHEMA_VERSION}"}
    audio = [name for name in audio_columns(row_type) if any(f.name == name for f in fields)]
    if audio:
        feature: dict[str, Any] = {"_type": "Audio"} | ({"sampling_rate": sample_rate} if sample_rate else {})
        metadata["huggingface"] = json.dumps({"info": {"features": dict.fromkeys(audio, feature)}})
    return pa.schema(fields, metadata=metadata)


def to_table(rows: Iterable[Any], row_type: type, schema: pa.Schema | None = None) -> pa.Table:
    """Rows (dataclasses of `row_type`) as an Arrow table with `schema` (default: the whole table's)."""
    schema, rows = schema or arrow_schema(row_type), list(rows)
    columns = [_column([getattr(row, field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    audio = all(type(value) is Audio and type(value.bytes) is bytes for value in values)
    if values and audio and sum(len(value.bytes) for value in values) < 2**31:
        return _audio_column(values, kind)
    return pa.array([_plain(value) for value in values], kind)


def _audio_column(values: list[Audio], kind: pa.StructType) -> pa.Array:
    """What `pa.array` makes of it, with one copy of the bytes where that takes several."""
    data = [value.bytes for value in values]
    ends = pa.array(list(itertools.accumulate(map(len, data), initial=0)), pa.int32())
    parts = [None, ends.buffers()[1], pa.py_buffer(b"".join(data))]
    paths = pa.array([value.path for value in values], pa.string())
    return pa.StructArray.from_arrays([pa.Array.from_buffers(pa.binary(), len(data), parts), paths], fields=list(kind))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is list:
        return [_plain(v) for v in value]
    return {name: _plain(v) for name, v in vars(value).items()}


def from_table(table: pa.Table, row_type: type[Row]) -> list[Row]:
    """Rows of an Arrow table as dataclasses. Columns the table lacks take the dataclass's default."""
    kind: Any = row_type
    build = _builder(kind)
    assert build is not None
    return [build(values) for values in table.to_pylist()]


@functools.cache
def _builder(annotation: Any) -> Callable[[Any], Any] | None:
    """What turns plain dicts and lists into a value of `annotation`; None where there is nothing to turn."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        (annotation,) = [a for a in typing.get_args(annotation) if a is not type(None)]
    if typing.get_origin(annotation) is list:
        item = _builder(typing.get_args(annotation)[0])
        return item and functools.partial(_build_list, item)
    if dataclasses.is_dataclass(annotation):
        hints = typing.get_type_hints(annotation)
        builders = {f.name: _builder(hints[f.name]) for f in dataclasses.fields(annotation)}
        return functools.partial(_build, annotation, frozenset(builders), {k: b for k, b in builders.items() if b})
    return None


def _build_list(item: Callable[[Any], Any], values: list[Any]) -> list[Any]:
    return [None if value is None else item(value) for value in values]


def _build(
    row_type: Any, names: frozenset[str], builders: dict[str, Callable[[Any], Any]], values: dict[str, Any]
) -> Any:
    """A row from a dict, which it changes; names that the row does not have are left out."""
    for name, build in builders.items():
        if values.get(name) is not None:
            values[name] = build(values[name])
    for name in values.keys() - names:
        del values[name]
    return row_type(**values)


def keys(pairs: Sequence[KeyText | KeyNumber]) -> dict[str, Any]:
    """A list of (key, value) structs as a dict."""
    return {pair.key: pair.value for pair in pairs}
