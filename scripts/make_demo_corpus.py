"""Make the demo corpus: synthetic speech and synthetic noise, small enough to live in the repository.

    python scripts/make_demo_corpus.py    # writes pipelines/demo_corpus/{speech,noise,index.csv}

Speech is espeak-ng reading the sentences below; noise is drawn from seeded generators. Every file has its own random
stream, `rng_for(purpose, id)`, so one voice or noise class can change without moving the others. With the same versions
of espeak-ng, libsndfile and soxr (the script prints them) two runs give the same bytes.

Conventions: 16 kHz mono; signals are float64 arrays of shape (samples,), range +-1, until they are written; levels are
RMS in dBFS over the whole file, RMS 1.0 = 0 dBFS. Speech and sparse or tonal noise are 16-bit FLAC; broadband noise,
which FLAC stores at almost full size, is Ogg Vorbis.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray
from scipy import signal
from scipy.interpolate import PchipInterpolator

Signal = NDArray[np.float64]

CORPUS = Path(__file__).resolve().parent.parent / "pipelines" / "demo_corpus"
SAMPLE_RATE = 16_000
LICENCE = "CC0-1.0"

# ----------------------------------------------------------------------------------------------------------------
# What is said, and by whom. The sentences were written for this project.


@dataclass(frozen=True)
class Voice:
    """One speaker: an espeak-ng voice (language+variant) with its own pitch (0-99) and rate, and what it says."""

    speaker: str
    language: str
    sex: str
    espeak_voice: str
    pitch: int
    words_per_minute: int
    sentences: tuple[str, ...]


VOICES = (
    Voice(
        "demo_ada", "en", "F", "en+f2", 62, 166,
        (
            "The baker on our street opens before the sun comes up.",
            "Could you please bring two folding chairs down from the attic?",
            "My umbrella turned inside out again at the windy bus stop.",
            "We planted three rows of beans behind the garden shed.",
            "She keeps the spare keys in a jar beside the garage door.",
            "There is fresh tomato soup on the stove if anyone is hungry.",
        ),
    ),
    Voice(
        "demo_ben", "en", "M", "en-us+m3", 66, 164,
        (
            "The last train was late, so we walked home along the river.",
            "I left my blue jacket hanging on the back of your office chair.",
            "Nobody remembered to water the plants while we were away.",
            "They painted the kitchen yellow and the hallway light gray.",
            "Turn left at the library and park behind the bakery.",
            "His old radio only works when you tap twice on the lid.",
        ),
    ),
    Voice(
        "demo_cora", "en", "F", "en-gb-scotland+f4", 48, 155,
        (
            "The ferry leaves at noon unless the wind picks up before then.",
            "Somebody has been feeding biscuits to the neighbour's dog.",
            "I found your missing glove and a pencil under the piano bench.",
            "We usually swim in the lake before breakfast during July.",
            "Please write your name and number on the list by the window.",
            "The children built a tall tower from empty egg boxes.",
        ),
    ),
    Voice(
        "demo_dan", "en", "M", "en-gb-x-gbclan+m7", 18, 158,
        (
            "Our cat sleeps on the printer because it stays warm.",
            "The plumber promised to come back on Thursday after lunch.",
            "You can borrow my bicycle on Sunday if you fix the bell.",
            "A heavy lorry blocked the narrow bridge for most of the morning.",
            "The tickets were a little cheaper when we bought them online.",
            "He counted forty sheep on the steep hill above the farm.",
        ),
    ),
    Voice(
        "demo_emil", "de", "M", "de+victor", 42, 152,
        (
            "Am Samstag fahren wir mit dem Zug ans Meer.",
            "Der große Schlüssel hängt wie immer neben der alten Küchenuhr.",
            "Meine Schwester hat gestern drei Gläser Marmelade eingekocht.",
            "Bitte mach das Fenster zu, bevor es wieder regnet.",
            "Im Keller stehen noch zwei Kisten mit alten Büchern.",
            "Der Bäcker an der Ecke hat heute leider keine Brötchen mehr.",
        ),
    ),
    Voice(
        "demo_frieda", "de", "F", "de+f5", 74, 168,
        (
            "Kannst du mir und meinem Bruder morgen früh beim Umzug helfen?",
            "Die Kinder haben den ganzen Nachmittag im Garten gespielt.",
            "Auf dem Markt gab es heute besonders süße Kirschen.",
            "Unser Nachbar repariert sein Fahrrad immer vor der Garage.",
            "Ich habe meine neue Brille schon wieder im Auto liegen lassen.",
            "Nach dem Essen gehen wir noch eine kleine Runde um den See.",
        ),
    ),
    Voice(
        "demo_gaston", "fr", "M", "fr+klatt4", 52, 158,
        (
            "Le gros chat gris du voisin dort toujours sur notre paillasson.",
            "Nous avons encore oublié le pain sur la table de la cuisine.",
            "Demain matin, je prendrai le tout premier bus pour la gare.",
            "Il a réparé la vieille lampe du salon avec un bout de ficelle.",
            "Hier après-midi, les enfants ont ramassé des coquillages sur la plage.",
            "Tu peux garer ta voiture juste derrière la petite école du village.",
        ),
    ),
    Voice(
        "demo_helene", "fr", "F", "fr+f1", 60, 158,
        (
            "Ma tante prépare une grande tarte aux prunes presque chaque dimanche.",
            "La pluie a commencé à tomber quelques minutes avant la fin du match.",
            "Vous pouvez fermer à clé la petite porte du jardin en partant ?",
            "J'ai enfin retrouvé tes lunettes de soleil sous le coussin du canapé.",
            "Le marché couvert ouvre à huit heures tous les jours de la semaine sauf le lundi.",
            "Le soir, on entend les cloches du village jusqu'à la rivière.",
        ),
    ),
    Voice(
        "demo_ismael", "es", "M", "es+Gene", 78, 154,
        (
            "Mi abuelo arregla relojes en el taller de la esquina.",
            "El autobús del pueblo llega tarde casi todos los viernes.",
            "Hemos comprado naranjas y queso para la cena de hoy.",
            "La ventana del salón no cierra bien cuando hace frío.",
            "Ayer dejé las llaves del coche encima de la mesa de madera.",
            "Esta mañana vimos un zorro pequeño cerca del camino.",
        ),
    ),
    Voice(
        "demo_julia", "es", "F", "es-419+belinda", 50, 154,
        (
            "¿Puedes traer una silla más para la nueva invitada?",
            "Los niños pintaron un barco verde en la pared.",
            "Mañana vamos a subir al cerro antes del desayuno.",
            "Mi hermana canta en el coro los domingos por la tarde.",
            "Anoche se me olvidó apagar la luz del pasillo.",
            "El mercado huele a pan dulce y café recién hecho.",
        ),
    ),
)  # fmt: skip

# Talkers of the babble: none of the voices above, and they say syllables, not words.
BABBLE_VOICES = (
    "it+m1", "pt+f3", "nl+m5", "sv+steph", "pl+m6", "da+linda", "fi+anika", "cs+david",
    "tr+robert", "hu+Annie", "ro+m8", "el+aunty", "sk+pedro", "lt+Alicia", "hr+edward", "nb+Andrea",
)  # fmt: skip

# ----------------------------------------------------------------------------------------------------------------
# Arithmetic


def rng_for(purpose: str, name: str) -> np.random.Generator:
    """One stream per purpose and name, the same on every machine (Python's own `hash` is salted, so not that)."""
    digest = hashlib.sha256(f"demo_corpus/{purpose}/{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def rms_dbfs(x: Signal) -> float:
    return float(10 * np.log10(np.mean(x**2)))


def at_level(x: Signal, level_dbfs: float, peak_limit: float = 0.7) -> Signal:
    """x scaled to an RMS level, or to `peak_limit` where that is lower: ticks and claps are mostly peak."""
    gain = 10 ** ((level_dbfs - rms_dbfs(x)) / 20)
    return x * min(gain, peak_limit / float(np.max(np.abs(x))))


def seconds(frames: int) -> Signal:
    return np.arange(frames) / SAMPLE_RATE


def coloured(rng: np.random.Generator, frames: int, exponent: float, corner_hz: float = 25.0) -> Signal:
    """Gaussian noise of unit RMS whose power falls as f**-exponent above `corner_hz` and is flat below."""
    spectrum = np.fft.rfft(rng.standard_normal(frames))
    spectrum *= np.maximum(np.fft.rfftfreq(frames, 1 / SAMPLE_RATE), corner_hz) ** (-exponent / 2)
    spectrum[0] = 0  # no DC
    noise: Signal = np.fft.irfft(spectrum, frames)
    noise /= np.std(noise)
    return noise


def band(x: Signal, low_hz: float, high_hz: float, order: int = 2) -> Signal:
    """x through a Butterworth band-pass."""
    sos = signal.butter(order, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE, output="sos")
    filtered: Signal = signal.sosfilt(sos, x)
    return filtered


def slow(rng: np.random.Generator, frames: int, rate_hz: float) -> Signal:
    """A smooth random curve in 0..1 that turns about `rate_hz` times a second: monotone cubics through random knots."""
    knots_s = np.arange(0, frames / SAMPLE_RATE + 1 / rate_hz, 0.5 / rate_hz)
    curve: Signal = PchipInterpolator(knots_s, rng.uniform(size=len(knots_s)))(seconds(frames))
    return curve


def phase_of(frequency_hz: Signal) -> Signal:
    """Phase in radians of an oscillator that follows a frequency curve."""
    cycles: Signal = np.cumsum(frequency_hz) / SAMPLE_RATE
    return 2 * np.pi * cycles


def decaying(rng: np.random.Generator, low_hz: float, high_hz: float, decay_s: float, tones: int) -> Signal:
    """A struck object: a few exponentially decaying sines at random frequencies, 5 time constants long."""
    t = seconds(int(5 * decay_s * SAMPLE_RATE))[:, None]
    frequencies_hz, phases = rng.uniform(low_hz, high_hz, tones), rng.uniform(0, 2 * np.pi, tones)
    ringing: Signal = np.sum(np.sin(2 * np.pi * frequencies_hz * t + phases), axis=1)
    return ringing * np.exp(-t[:, 0] / decay_s)


def place(events: Iterator[tuple[float, Signal]], frames: int) -> Signal:
    """Sum of short signals, each starting at its time in seconds; what passes the end is cut."""
    out = np.zeros(frames)
    for at_s, event in events:
        start = int(at_s * SAMPLE_RATE)
        if 0 <= start < frames:
            out[start : start + len(event)] += event[: frames - start]
    return out


# ----------------------------------------------------------------------------------------------------------------
# Noise classes: (generator, frames) -> signal at any level. Parameters are drawn, so recordings of a class differ.


def white(rng: np.random.Generator, frames: int) -> Signal:
    return rng.standard_normal(frames)


def pink(rng: np.random.Generator, frames: int) -> Signal:
    return coloured(rng, frames, 1.0)


def brown(rng: np.random.Generator, frames: int) -> Signal:
    return coloured(rng, frames, 2.0)


def hum_50hz(rng: np.random.Generator, frames: int) -> Signal:
    """Mains: 50 Hz and 29 harmonics falling at a drawn slope, odd ones stronger, breathing slowly."""
    harmonic = np.arange(1, 31)[:, None]
    amplitude = harmonic ** -rng.uniform(0.7, 1.5) * np.where(harmonic % 2, 1, rng.uniform(0.2, 0.9))
    phase = rng.uniform(0, 2 * np.pi, (30, 1))
    tones: Signal = np.sum(amplitude * np.sin(2 * np.pi * 50 * harmonic * seconds(frames) + phase), axis=0)
    return tones * (0.8 + 0.4 * slow(rng, frames, 0.7)) + 0.001 * coloured(rng, frames, 1.0)


def engine(rng: np.random.Generator, frames: int) -> Signal:
    """Firing rate that wanders, its harmonics, and exhaust noise let through once per firing."""
    firing_hz = rng.uniform(28, 70) * (1 + 0.5 * slow(rng, frames, 0.3))
    phase = phase_of(firing_hz)
    amplitude = np.arange(1, 26) ** -0.9 * rng.lognormal(0, 0.6, 25)
    tones = np.zeros(frames)
    for k, a in enumerate(amplitude, start=1):
        tones += a * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    exhaust = band(rng.standard_normal(frames), 100, 2500) * (0.5 + 0.5 * np.cos(phase)) ** 2
    return tones / np.std(tones) + rng.uniform(0.2, 0.5) * exhaust / np.std(exhaust)


def rain(rng: np.random.Generator, frames: int) -> Signal:
    """Distant hiss, and near drops: Poisson in time, log-normal in size, ringing at 1 to 6.5 kHz."""
    drops_per_s = rng.uniform(60, 250)
    count = rng.poisson(drops_per_s * frames / SAMPLE_RATE)
    shapes = [decaying(rng, 1000, 6500, rng.uniform(0.0005, 0.002), 3) for _ in range(40)]
    times_s = rng.uniform(0, frames / SAMPLE_RATE, count)
    drops = place(((t, shapes[rng.integers(40)] * rng.lognormal(0, 0.6)) for t in times_s), frames)
    hiss = band(coloured(rng, frames, 0.5), 600, 7000, order=1)
    return hiss / np.std(hiss) + rng.uniform(1.0, 2.0) * drops / np.std(drops)


def wind(rng: np.random.Generator, frames: int) -> Signal:
    """Gusts: a rumble always there, and a brighter roar that comes with the cube of the gust."""
    gust = slow(rng, frames, rng.uniform(0.3, 0.8))
    rumble = coloured(rng, frames, 3.0, corner_hz=40)
    roar = band(coloured(rng, frames, 1.5, corner_hz=200), 150, rng.uniform(900, 1800), order=1)
    buffet = 0.6 + 0.4 * slow(rng, frames, 9.0)
    return (0.25 + gust**2) * rumble + 2.5 * gust**3 * buffet * roar / np.std(roar)


def fan(rng: np.random.Generator, frames: int) -> Signal:
    """Air noise, the blade-passing tone with harmonics, and a wobble once per turn."""
    turns_hz, blades = rng.uniform(14, 30), rng.integers(3, 8)
    phase = phase_of(np.full(frames, turns_hz))
    air = band(coloured(rng, frames, 1.0, corner_hz=100), 80, 4000, order=1)
    tones: Signal = np.sum([np.sin(k * blades * phase + k) / k for k in (1, 2, 3, 4)], axis=0)
    return (1 + 0.2 * np.sin(phase)) * air / np.std(air) + rng.uniform(0.8, 1.5) * tones


def clock_ticks(rng: np.random.Generator, frames: int) -> Signal:
    """Tick, tock: two struck sounds in turn at a steady rate, in a quiet room."""
    interval_s = rng.uniform(0.25, 0.5)
    strikes = [decaying(rng, 1500, 5500, rng.uniform(0.004, 0.009), 5) for _ in range(2)]
    times_s = np.arange(rng.uniform(0.02, 0.2), frames / SAMPLE_RATE, interval_s)
    ticks = place(((t, strikes[i % 2] * rng.uniform(0.9, 1.0)) for i, t in enumerate(times_s)), frames)
    return ticks + 0.0003 * coloured(rng, frames, 2.0)


def keyboard(rng: np.random.Generator, frames: int) -> Signal:
    """Typing: 5 to 9 keys a second with pauses; each key is a click down, a thud, and a softer click up."""
    gaps_s = rng.gamma(3.0, 1 / 3 / rng.uniform(5, 9), 200) + np.where(rng.uniform(size=200) < 0.08, 0.6, 0.0)

    def keys() -> Iterator[tuple[float, Signal]]:
        for at_s in np.cumsum(gaps_s):
            force = rng.lognormal(0, 0.3)
            yield at_s, force * decaying(rng, 1200, 6000, rng.uniform(0.002, 0.004), 8)
            yield at_s + 0.004, force * decaying(rng, 150, 500, 0.010, 2)
            yield at_s + rng.uniform(0.06, 0.11), 0.5 * force * decaying(rng, 1500, 7000, 0.002, 8)

    return place(keys(), frames) + 0.01 * coloured(rng, frames, 1.0)


def siren(rng: np.random.Generator, frames: int) -> Signal:
    """A wail: frequency swept up and down between two drawn limits, three harmonics, two echoes."""
    low_hz, high_hz = rng.uniform(350, 600), rng.uniform(1000, 1600)
    sweep = 0.5 + 0.5 * signal.sawtooth(2 * np.pi * rng.uniform(0.25, 2.5) * seconds(frames), width=0.6)
    phase = phase_of(low_hz * (high_hz / low_hz) ** sweep)
    wail = np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)
    return place(((delay_s, a * wail) for delay_s, a in ((0, 1.0), (0.11, 0.35), (0.24, 0.2))), frames)


def crowd(rng: np.random.Generator, frames: int) -> Signal:
    """A hall heard from outside: speech-shaped noise in 16 bands, each with its own syllabic (2 to 7 Hz) envelope."""
    edges_hz = np.geomspace(120, 7000, 17)
    source = coloured(rng, frames, 1.0, corner_hz=500)
    out = np.zeros(frames)
    for low_hz, high_hz in pairwise(edges_hz):
        out += band(source, low_hz, high_hz) * slow(rng, frames, rng.uniform(2, 7)) ** 2
    return out


def applause(rng: np.random.Generator, frames: int) -> Signal:
    """Each person claps at a steady pace of 3 to 5 Hz with some jitter, and with one's own hands and distance."""

    def claps() -> Iterator[tuple[float, Signal]]:
        for _ in range(rng.integers(35, 90)):
            pace_s, loudness = 1 / rng.uniform(3, 5), rng.lognormal(0, 0.7)
            hands = band(rng.standard_normal(480), 500, rng.uniform(1800, 4000), order=1)
            hands *= loudness * np.exp(-seconds(480) / rng.uniform(0.002, 0.006))
            for at_s in np.arange(rng.uniform(0, pace_s), frames / SAMPLE_RATE, pace_s):
                yield at_s + rng.normal(0, 0.015), hands

    return place(claps(), frames)


def overlapped(rng: np.random.Generator, frames: int, talkers: Sequence[Signal]) -> Signal:
    """Talkers at similar levels, each read from a random point and looped."""
    out = np.zeros(frames)
    for talker in talkers:
        start = int(rng.integers(len(talker)))
        out += at_level(np.resize(np.roll(talker, -start), frames), rng.uniform(-33, -27))
    return out


# ----------------------------------------------------------------------------------------------------------------
# Speech


def require_espeak() -> str:
    """espeak-ng's version line; exits with what to install where there is no espeak-ng."""
    if shutil.which("espeak-ng") is None:
        raise SystemExit("make_demo_corpus needs the program espeak-ng (Debian, Ubuntu: apt install espeak-ng)")
    version = subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True).stdout
    return version.split("  ")[0].strip()


def speak(text: str, espeak_voice: str, pitch: int, words_per_minute: int) -> Signal:
    """Text read by espeak-ng, at our sample rate. Amplitude 60 (of 200): at 100 some variants clip inside espeak-ng."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        options = ["-v", espeak_voice, "-p", str(pitch), "-s", str(words_per_minute), "-a", "60", "-w", str(wav)]
        subprocess.run(["espeak-ng", *options, "--stdin"], input=text, check=True, text=True, encoding="utf-8")
        samples, sample_rate = sf.read(wav, dtype="float64")
    if np.max(np.abs(samples)) > 0.99:
        raise ValueError(f"espeak-ng must not clip, got peak {np.max(np.abs(samples)):.3f} ({espeak_voice}: {text!r})")
    speech: Signal = soxr.resample(samples, sample_rate, SAMPLE_RATE, "VHQ")
    return speech


def trimmed(x: Signal, margin_s: float = 0.05, threshold_db: float = -45.0) -> Signal:
    """x from 50 ms before its first to 50 ms after its last 10 ms frame above a level relative to the loudest."""
    hop = SAMPLE_RATE // 100
    energy = np.mean(x[: len(x) // hop * hop].reshape(-1, hop) ** 2, axis=1)
    active = np.flatnonzero(energy > energy.max() * 10 ** (threshold_db / 10))
    margin = int(margin_s * SAMPLE_RATE)
    padded = np.pad(x, margin)  # index i of x is i + margin here
    return padded[active[0] * hop : (active[-1] + 1) * hop + 2 * margin].copy()


def faded(x: Signal, fade_s: float = 0.01) -> Signal:
    """x with raised-cosine ends, so that a cut does not click."""
    return x * signal.windows.tukey(len(x), 2 * fade_s * SAMPLE_RATE / len(x))


def require_variant(espeak_voice: str) -> None:
    """Refuse a variant that changes nothing: espeak-ng 1.51 silently ignores it after `en-gb` or `fr-fr`, not `en`."""
    language = espeak_voice.split("+")[0]
    if np.array_equal(speak("banana", espeak_voice, 50, 160), speak("banana", language, 50, 160)):
        raise ValueError(f"espeak_voice must sound different from its language alone, got {espeak_voice!r}")


def utterance(voice: Voice, number: int) -> Signal:
    """One sentence at the speaker's usual level +-1.5 dB, over room noise at -75 dBFS: never digitally silent."""
    name = f"{voice.speaker}_{number:02d}"
    level_dbfs = rng_for("speaker_level", voice.speaker).uniform(-33, -27)
    rng = rng_for("utterance", name)
    spoken = speak(voice.sentences[number - 1], voice.espeak_voice, voice.pitch, voice.words_per_minute)
    spoken = at_level(faded(trimmed(spoken)), level_dbfs + rng.uniform(-1.5, 1.5))
    if not 3.0 <= len(spoken) / SAMPLE_RATE <= 6.0:
        raise ValueError(f"duration_s must be in 3..6, got {len(spoken) / SAMPLE_RATE:.2f} ({name})")
    return spoken + 10 ** (-75 / 20) * coloured(rng, len(spoken), 1.5, corner_hz=50)


def syllables(rng: np.random.Generator, count: int) -> str:
    """Nonsense to be read aloud: consonant and vowel pairs in groups of one to four."""
    text = []
    while count > 0:
        size = int(rng.integers(1, 5))
        text.append("".join(rng.choice(list("bdfgklmnprstv")) + rng.choice(list("aeiou")) for _ in range(size)))
        count -= size
    return " ".join(text)


def babble_talkers(rng: np.random.Generator) -> list[Signal]:
    """About 6 s of nonsense from 12 of the babble voices, silences at the ends removed."""
    voices = rng.choice(BABBLE_VOICES, 12, replace=False)
    return [
        trimmed(speak(syllables(rng, 32), str(v), int(rng.integers(30, 70)), int(rng.integers(150, 200))), margin_s=0)
        for v in voices
    ]


def babble(rng: np.random.Generator, frames: int) -> Signal:
    return overlapped(rng, frames, babble_talkers(rng))


# ----------------------------------------------------------------------------------------------------------------
# The noise recordings


@dataclass(frozen=True)
class NoiseClass:
    """A generator, how its recordings are stored, and how long each of them is."""

    name: str
    generate: Callable[[np.random.Generator, int], Signal]
    subtype: str
    durations_s: tuple[float, ...]


# Most last 4 to 6 s. Some are shorter than any utterance, so that they must be looped, and two are about 12 s.
NOISES = (
    NoiseClass("white", white, "VORBIS", (4.0, 4.4, 1.7)),
    NoiseClass("pink", pink, "VORBIS", (4.6, 4.0, 4.2)),
    NoiseClass("brown", brown, "VORBIS", (4.0, 4.5, 4.0)),
    NoiseClass("hum_50hz", hum_50hz, "FLAC", (4.0, 4.2, 4.0)),
    NoiseClass("engine", engine, "VORBIS", (5.0, 4.5, 4.0)),
    NoiseClass("rain", rain, "VORBIS", (4.2, 4.0, 4.0)),
    NoiseClass("wind", wind, "VORBIS", (12.2, 4.5, 5.0)),
    NoiseClass("fan", fan, "VORBIS", (4.0, 4.4, 4.2)),
    NoiseClass("babble", babble, "VORBIS", (4.5, 5.0, 4.0)),
    NoiseClass("clock_ticks", clock_ticks, "FLAC", (4.0, 11.8, 4.6)),
    NoiseClass("keyboard", keyboard, "VORBIS", (4.0, 5.0, 4.2)),
    NoiseClass("siren", siren, "VORBIS", (4.5, 1.9, 5.5)),
    NoiseClass("crowd", crowd, "VORBIS", (4.2, 5.0, 4.0)),
    NoiseClass("applause", applause, "VORBIS", (4.2, 1.6, 4.0)),
)

# ----------------------------------------------------------------------------------------------------------------
# Files


@dataclass(frozen=True)
class Row:
    """One line of index.csv; an empty field is unknown or not applicable."""

    path: str
    kind: str
    speaker: str
    language: str
    transcript: str
    sample_rate: int
    channels: int
    duration_s: str
    licence: str
    category: str
    sex: str
    format: str
    subtype: str
    sha256: str
    notes: str
    recording: str
    synthetic: str = "yes"


def ogg_crc_table() -> list[int]:
    """Byte table of the CRC of RFC 3533: polynomial 0x04c11db7, most significant bit first, start 0."""
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        table.append(crc & 0xFFFFFFFF)
    return table


def with_serial(ogg: bytes, serial: int) -> bytes:
    """An Ogg stream with its serial number replaced: libsndfile draws it from the clock, so no two runs would agree.

    RFC 3533: a page is 27 bytes of header (serial at 14, checksum at 22, number of segments at 26), the segment
    lengths, and the segments; the checksum is over the whole page with its own field zero.
    """
    table, out, start = ogg_crc_table(), bytearray(ogg), 0
    while start < len(out):
        if out[start : start + 4] != b"OggS":
            raise ValueError(f"Ogg page must start with OggS, got {bytes(out[start : start + 4])!r} (byte {start})")
        body = start + 27 + out[start + 26]
        end = body + sum(out[start + 27 : body])
        struct.pack_into("<I", out, start + 14, serial)
        struct.pack_into("<I", out, start + 22, 0)
        crc = 0
        for byte in out[start:end]:
            crc = (crc << 8) & 0xFFFFFFFF ^ table[(crc >> 24) ^ byte]
        struct.pack_into("<I", out, start + 22, crc)
        start = end
    return bytes(out)


def encoded(x: Signal, subtype: str) -> bytes:
    """x as the bytes of a 16-bit FLAC or Ogg Vorbis file; Vorbis in blocks, as libsndfile can crash on one long write.

    compression_level 1.0 is FLAC's -8; 0.7 is Vorbis quality 0.3, about 35 kbit/s for white noise.
    """
    buffer = io.BytesIO()
    if subtype == "FLAC":
        sf.write(buffer, x, SAMPLE_RATE, format="FLAC", subtype="PCM_16", compression_level=1.0)
        return buffer.getvalue()
    with sf.SoundFile(buffer, "w", SAMPLE_RATE, 1, format="OGG", subtype="VORBIS", compression_level=0.7) as file:
        for start in range(0, len(x), 4096):
            file.write(x[start : start + 4096])
    return with_serial(buffer.getvalue(), serial=1)


def save(out: Path, path: str, x: Signal, subtype: str, **columns: str) -> Row:
    """Write one file; its row, with what the file itself says."""
    data = encoded(x, subtype)
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    (out / path).write_bytes(data)
    info = sf.info(out / path)
    described = {"speaker": "", "language": "", "transcript": "", "category": "", "sex": "", "licence": LICENCE}
    return Row(
        path=path,
        sample_rate=info.samplerate,
        channels=info.channels,
        duration_s=f"{info.duration:.4f}",
        format=info.format,
        subtype=info.subtype,
        sha256=hashlib.sha256(data).hexdigest(),
        **(described | columns),
    )


def speech_rows(out: Path, espeak_version: str) -> Iterator[Row]:
    for voice in VOICES:
        require_variant(voice.espeak_voice)
        settings = f"-v {voice.espeak_voice} -p {voice.pitch} -s {voice.words_per_minute}"
        for number, sentence in enumerate(voice.sentences, start=1):
            name = f"{voice.speaker}_{number:02d}"
            yield save(
                out, f"speech/{voice.speaker}/{name}.flac", utterance(voice, number), "FLAC",
                kind="speech", speaker=voice.speaker, language=voice.language, transcript=sentence, sex=voice.sex,
                notes=f"synthetic: {espeak_version}, {settings}", recording=name,
            )  # fmt: skip


def noise_recording(noise: NoiseClass, number: int) -> Signal:
    rng = rng_for("noise", f"{noise.name}_{number}")
    x = noise.generate(rng, int(noise.durations_s[number - 1] * SAMPLE_RATE))
    return at_level(x, rng.uniform(-40, -30))


def noise_rows(out: Path) -> Iterator[Row]:
    for noise in NOISES:
        suffix = "flac" if noise.subtype == "FLAC" else "ogg"
        for number in range(1, len(noise.durations_s) + 1):
            name = f"{noise.name}_{number}"
            yield save(
                out, f"noise/{noise.name}/{name}.{suffix}", noise_recording(noise, number), noise.subtype,
                kind="noise", category=noise.name, notes="synthetic: scripts/make_demo_corpus.py", recording=name,
            )  # fmt: skip


def make(out: Path) -> list[Row]:
    """Write the speech, the noise and the index under `out`; README.md and LICENCE.txt there are written by hand."""
    version = require_espeak()
    print(f"{version}; libsndfile {sf.__libsndfile_version__}; soxr {soxr.__libsoxr_version__}; numpy {np.__version__}")
    rows = [*speech_rows(out, version), *noise_rows(out)]
    with (out / "index.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(f.name for f in fields(Row))
        writer.writerows(astuple(row) for row in rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the synthetic demo corpus.")
    parser.add_argument("--out", type=Path, default=CORPUS, help="folder to write to (default: %(default)s)")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rows = make(out)
    for kind in ("speech", "noise"):
        chosen = [row for row in rows if row.kind == kind]
        size_mb = sum((out / row.path).stat().st_size for row in chosen) / 1e6
        for stray in sorted(set((out / kind).rglob("*.*")) - {out / row.path for row in chosen}):
            print(f"not made by this run, and not in the index: {stray}")
        print(f"{kind}: {len(chosen)} files, {sum(float(r.duration_s) for r in chosen):.0f} s, {size_mb:.2f} MB")


if __name__ == "__main__":
    main()
