"""`python -m benchmarks.readme`: write the table between the marks of README.md from benchmarks/results/*.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

__all__ = ["section", "update"]

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
MARKS = re.compile(r"(<!-- benchmarks -->\n).*?(<!-- /benchmarks -->)", flags=re.DOTALL)
SAID = {
    ("rooms", "geomean_mics_1"): "a room impulse response, 1 microphone (geometric mean over 12 rooms)",
    ("rooms", "geomean_mics_8"): "8 microphones x 3 sources (the same rooms)",
    ("render", "dry_mics_1"): "a 10 s mixture without a room, two FLAC stems into Parquet",
    ("render", "measured_rir_mics_1"): "the same with a measured RIR",
    ("render", "fresh_room_mics_1"): "with a fresh simulated room, RT60 0.3-0.6 s",
    ("render", "fresh_room_mics_8"): "8 microphones, RT60 0.2-0.8 s",
    ("render", "fresh_room_talkers_2_mics_4"): "2 talkers x 4 microphones, RT60 0.2-0.8 s",
    ("render", "fresh_room_48k_mics_1"): "48 kHz, 1 microphone, RT60 0.3-0.6 s",
    ("render", "moving_talker_mics_1"): "a moving talker, a response every 2 cm",
    ("render", "convolve_channels_1"): "a convolution of 10 s with a response of 0.3-0.6 s; peer: fftconvolve of scipy",
    ("render", "convolve_channels_8"): "the same with 8 channels",
    ("stoi", "stoi_estoi"): "STOI and ESTOI of a 10 s pair; peer: pystoi",
    ("sdr", "sdr_vs_mir_eval"): "SDR; peer: mir_eval",
    ("sdr", "sdr_vs_fast_bss_eval"): "SDR; peer: fast_bss_eval",
    ("sdr", "bss_eval_2_sources"): "SDR, SIR and SAR of two sources, assignment included; peer: mir_eval",
    ("score", "all_vs_pesq_alone"): "PESQ, STOI, ESTOI, SI-SDR, SDR, CSIG, CBAK and COVL, decoding included; "
    "peer: PESQ alone",
    ("score", "naive_loop"): "the first five, decoding included; peer: a loop over pesq, pystoi and mir_eval",
    ("score", "naive_loop_without_pesq"): "the same without PESQ",
    ("score", "second_system"): "the same, a further system scored with the first; peer: hubbub, by itself",
    ("engine", "workers_2"): "two Ray workers; peer: one (wall time)",
}


def section(results: dict[str, dict[str, Any]]) -> str:
    """The table, with the machine named, or each where they differ."""
    corpus = results["render"]["corpus"]
    lines = ["| what | hubbub | peer | ratio |", "|---|--:|--:|--:|"]
    for (name, key), said in SAID.items():
        entry = results[name]["results"][key]
        speed = f" ({entry['times_real_time']:.0f} x real time per core)" if "times_real_time" in entry else ""
        lines.append(
            f"| {said} | {entry['ours_ms']:.3g} ms{speed} | {entry['peer_ms']:.4g} ms | {entry['ratio']:.3g} |"
        )
    places: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for name, _ in SAID):
        places.setdefault(_where(results[name]["machine"]), []).append(name)
    where = "; ".join(f"{place} ({', '.join(names)})" for place, names in places.items())
    lines += [
        "",
        "Medians of CPU time, contenders in turn, one thread a library. "
        f"Machine: {next(iter(places)) if len(places) == 1 else where}. Audio: {corpus['name']}.",
    ]
    lines += [
        "From `python -m benchmarks all` by `python -m benchmarks.readme`; peers and versions: `benchmarks/results/`."
    ]
    return "\n".join(lines) + "\n"


def _where(machine: dict[str, Any]) -> str:
    return f"{machine['processor']}, {machine['cpus']} cores, {machine['system']}, Python {machine['python']}"


def update() -> None:
    """Rewrite the section."""
    results = {name: json.loads((HERE / "results" / f"{name}.json").read_text()) for name in {name for name, _ in SAID}}
    README.write_text(MARKS.sub(lambda m: m[1] + section(results) + m[2], README.read_text()))


if __name__ == "__main__":
    update()
