"""The drawn parts of the page: time line, confidence by step, what was weighed.

Every picture is an SVG stretched over a known range, with its words in HTML beside it, so that
words keep their size on a phone and on paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from foveal.explain.markup import clock, count, join, number, percent, shortened, span, text
from foveal.explain.story import AnswerStep, Scores, Story
from foveal.records import Label, Prediction
from foveal.types import ClipInfo

WIDTH = 1000
"""Units across a drawing; marks closer than one are drawn as one, which bounds its size."""
MAX_BARS, MAX_LANES = 300, 6
MAX_DOTS = 60
MAX_TICKS, NUM_BINS = 240, 250
MAX_CHOICES, MAX_REMARKS = 12, 3
SCORED = "Its score of each picture; what it chose by them is orange. The highest fills the row."
NICE_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


# --- the time line --------------------------------------------------------------------------


def timeline(prediction: Prediction, story: Story) -> str:
    """Return the answer, and everything that was ever looked at, over the whole file."""
    clip = prediction.clip
    duration = clip.duration_seconds
    glanced = [f.seconds for f in story.frames if f.glanced]
    focused = [f.seconds for f in story.frames if f.focused]
    rows = [_row("answer", "", answer_lanes(told(prediction), duration))]
    if glanced:
        rows.append(_row("glanced", "glance", _track(_ticks(glanced, clip, "glance"))))
    rows += [_scores_row(scores, duration) for scores in _timed(story.scores)]
    if focused:
        rows.append(_row("looked closely", "focus", _track(_ticks(focused, clip, "focus"))))
    if not story.frames:
        rows.append(_row("looked at", "", _track("")))
    if story.sounds:
        rows.append(_row("listened", "sound", _track(_windows(story.sounds, duration))))
    if story.features:
        marks = _ticks(story.features, clip, "sound")
        rows.append(_row("features", "sound", _track(marks)))
    for name, made in story.gates.items():
        rows.append(_row(f"{name} gate", "", _track(_gate_marks(made, duration))))
    if clip.keyframe_seconds:
        marks = _ticks(clip.keyframe_seconds, clip, "keyframes")
        rows.append(_row("keyframes", "", _track(marks, css="thin")))
    rows.append(_row("", "", axis(duration)))
    lines = join(f'<p class="aside">{line}</p>' for line in _captions(prediction, story))
    return f'<div class="timeline">\n{join(rows)}\n</div>\n{lines}'


def _captions(prediction: Prediction, story: Story) -> list[str]:
    """Return how to read the rows of this time line."""
    seconds = [f.seconds for f in story.frames]
    captions = ["Where a row is empty, nothing was looked at."] if seconds else []
    if _is_crowded(seconds, prediction.clip.duration_seconds):
        captions = [
            "Too many frames to mark one by one: the fainter the colour, the smaller the share of "
            "frames that was looked at there."
        ]
    if _timed(story.scores):
        captions.append(SCORED)
    if story.gates:
        captions.append("A tall mark is an open gate, a short one a gate that was kept shut.")
    if len(story.remarks) <= MAX_REMARKS:
        captions += [f"It noted: {text(remark)}." for remark in story.remarks]
    return captions


def answer_lanes(best: Sequence[Label], duration: float) -> str:
    """Return a bar for each label of :func:`told`; those that overlap are stacked."""
    drawn_labels = sorted(best, key=lambda label: -label.prob)[:MAX_BARS]
    drawn_labels.sort(key=lambda label: (label.start_seconds, label.end_seconds))
    lanes: list[list[str]] = []
    free_from: list[float] = []
    left_out = len(best) - len(drawn_labels)
    for label in drawn_labels:
        begins = label.start_seconds + 1e-9
        lane = next((i for i, free in enumerate(free_from) if free <= begins), len(lanes))
        if lane == MAX_LANES:
            left_out += 1
            continue
        if lane == len(lanes):
            lanes.append([])
            free_from.append(0.0)
        free_from[lane] = label.end_seconds
        lanes[lane].append(_answer_bar(label, duration))
    drawn = join(f'<div class="lane">{"".join(bars)}</div>' for bars in lanes)
    if not lanes:
        drawn = '<div class="lane empty">nothing found</div>'
    if left_out:
        more = count(left_out, "more stretch", "more stretches")
        drawn += f'<p class="aside">{more} not drawn</p>'
    return drawn


def _answer_bar(label: Label, duration: float) -> str:
    left, right = place(label.start_seconds, duration), place(label.end_seconds, duration)
    words = wording(label)
    when = span(label.start_seconds, label.end_seconds, within=duration)
    return (
        f'<div class="bar {"known" if label.known else "unknown"}" '
        f'style="left:{number(left / 10)}%;width:{number(max(right - left, 1) / 10)}%" '
        f'title="{text(words)}, {percent(label.prob)}, {when}">'
        f"<span>{text(words)}</span> <em>{percent(label.prob)}</em></div>"
    )


def told(prediction: Prediction) -> tuple[Label, ...]:
    """Return what the answer is: of each stretch, in their order, the likeliest label.

    Where a stretch may show several classes, all of them that are known.
    """
    known = tuple(label for label in prediction.predictions if label.known)
    if prediction.several and known:
        return known
    best: dict[tuple[float, float], Label] = {}
    for label in prediction.predictions:
        key = (label.start_seconds, label.end_seconds)
        if key not in best or label.prob > best[key].prob:
            best[key] = label
    return tuple(best.values())


def wording(label: Label) -> str:
    """Return how a label is called, the guess in brackets where nothing is known."""
    guess = "" if label.known or not label.guess else f" ({shortened(label.guess)})"
    return shortened(label.label) + guess


def axis(duration: float) -> str:
    """Return the times below the time line, at round distances."""
    if duration <= 0:
        return '<div class="axis"><span style="left:0%">0 s</span></div>'
    step = next((s for s in NICE_STEPS if duration / s <= 7), NICE_STEPS[-1])
    decimals = 1 if step < 1 else 0
    marks = []
    for i in range(int(duration / step + 1e-9) + 1):
        x = place(i * step, duration)
        side = " last" if x > 0.94 * WIDTH else ""
        at = clock(i * step, within=duration, decimals=decimals)
        marks.append(f'<span class="at{side}" style="left:{number(x / 10)}%">{at}</span>')
    return f'<div class="axis">{"".join(marks)}</div>'


def place(seconds: float, duration: float) -> float:
    """Return where a time lies across a drawing, 0 to :data:`WIDTH`."""
    return WIDTH * min(max(seconds / duration, 0.0), 1.0) if duration > 0 else 0.0


def _row(name: str, css: str, drawing: str) -> str:
    return (
        f'<div class="row"><div class="name {css}">{text(name)}</div>'
        f'<div class="drawing">{drawing}</div></div>'
    )


def _svg(marks: str, *, css: str, label: str = "") -> str:
    described = f'role="img" aria-label="{text(label)}"' if label else 'aria-hidden="true"'
    return (
        f'<svg class="{css}" viewBox="0 0 {WIDTH} 100" preserveAspectRatio="none" {described}>'
        f"{marks}</svg>"
    )


def _track(marks: str, *, css: str = "") -> str:
    return _svg(marks, css=f"track {css}".strip())


def _ticks(seconds: Sequence[float], clip: ClipInfo, css: str) -> str:
    duration = clip.duration_seconds
    if _is_crowded(seconds, duration):
        return _shares(seconds, clip, css)
    columns = sorted({round(place(t, duration)) for t in seconds})
    return f'<path class="tick {css}" d="{"".join(f"M{x} 0V100" for x in columns)}"/>'


def _is_crowded(seconds: Sequence[float], duration: float) -> bool:
    return len({round(place(t, duration)) for t in seconds}) > MAX_TICKS


def _shares(seconds: Sequence[float], clip: ClipInfo, css: str) -> str:
    """Return a band that is the stronger, the larger the share of frames looked at there.

    Marks wider than their frames would run together and claim that all was seen. Strength is
    the root of the share, so that one frame in a hundred can still be told from none.
    """
    step = WIDTH // NUM_BINS
    amounts: dict[int, int] = {}
    for t in seconds:
        index = min(int(place(t, clip.duration_seconds)) // step, NUM_BINS - 1)
        amounts[index] = amounts.get(index, 0) + 1
    frames = num_frames(clip)[0] or max(amounts.values()) * NUM_BINS
    strengths: dict[float, list[int]] = {}
    for index, amount in sorted(amounts.items()):
        strength = round(20 * min(1.0, amount * NUM_BINS / frames) ** 0.5) / 20
        strengths.setdefault(max(strength, 0.15), []).append(index * step)
    return "".join(
        f'<path class="band {css}" opacity="{number(strength)}" '
        f'd="{"".join(f"M{x} 0h{step}v100h-{step}z" for x in columns)}"/>'
        for strength, columns in sorted(strengths.items())
    )


def num_frames(clip: ClipInfo) -> tuple[int, bool]:
    """Return how many frames the file has, 0 if unknown, and whether that is exact."""
    if clip.num_frames is not None:
        return clip.num_frames, True
    return round(clip.duration_seconds * clip.fps), False


def _windows(windows: Sequence[tuple[float, float]], duration: float) -> str:
    joined: list[tuple[int, int]] = []
    for start, end in windows:
        x0, x1 = round(place(start, duration)), round(place(end, duration))
        if joined and x0 < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(x1, joined[-1][1]))
        else:
            joined.append((x0, x1))
    return "".join(
        f'<rect class="window" x="{x0}" y="25" width="{max(x1 - x0, 2)}" height="50"/>'
        for x0, x1 in joined
    )


def _gate_marks(made: Sequence[tuple[float | None, bool]], duration: float) -> str:
    """An open gate is a tall mark, a closed one a short stub; without times they stand in order."""
    opened: set[int] = set()
    closed: set[int] = set()
    for index, (t, is_open) in enumerate(made):
        x = WIDTH * (index + 0.5) / len(made) if t is None else place(t, duration)
        (opened if is_open else closed).add(round(x))
    tall = "".join(f"M{x} 0V100" for x in sorted(opened))
    stubs = "".join(f"M{x} 62V100" for x in sorted(closed - opened))
    return f'<path class="tick open" d="{tall}"/><path class="tick closed" d="{stubs}"/>'


def _timed(scores: Iterable[Scores]) -> list[Scores]:
    """Return the scores that have times, those of windows joined to one."""
    timed = [s for s in scores if s.seconds is not None]
    if not timed:
        return []
    seconds: list[float] = []
    values: list[float] = []
    chosen: list[int] = []
    for one in timed:
        assert one.seconds is not None
        chosen += [len(seconds) + i for i in one.chosen]
        seconds += one.seconds
        values += one.values
    return [Scores(seconds=tuple(seconds), values=tuple(values), chosen=tuple(chosen))]


def _scores_row(scores: Scores, duration: float) -> str:
    assert scores.seconds is not None
    positions = [round(place(t, duration)) for t in scores.seconds]
    return _row("its score", "glance", _columns(positions, scores, css="track scores"))


def _columns(positions: Sequence[int], scores: Scores, *, css: str) -> str:
    """Return a column for each score, chosen ones apart; where columns meet the highest stays."""
    kept = set(scores.chosen)
    heights: tuple[dict[int, float], dict[int, float]] = ({}, {})
    for index, (x, value) in enumerate(zip(positions, scores.values, strict=True)):
        group = heights[index in kept]
        group[x] = max(group.get(x, 0.0), value)
    paths = [
        "".join(f"M{x} 100V{number(96 - 92 * value, 1)}" for x, value in sorted(group.items()))
        for group in heights
    ]
    marks = f'<path class="tick weighed" d="{paths[0]}"/><path class="tick kept" d="{paths[1]}"/>'
    said = f"scores of {len(scores.values)} candidates, {len(scores.chosen)} chosen"
    return _svg(marks, css=css, label=said)


# --- what was weighed, where it has no time -------------------------------------------------


def choices(story: Story) -> str:
    """Return a strip for each choice among candidates that are not frames (tokens, clips)."""
    untimed = [s for s in story.scores if s.seconds is None]
    strips = [_choice(s) for s in untimed[:MAX_CHOICES]]
    if len(untimed) > MAX_CHOICES:
        more = count(len(untimed) - MAX_CHOICES, "more choice")
        strips.append(f'<p class="aside">{more} in the list of decisions.</p>')
    return join(strips)


def _choice(scores: Scores) -> str:
    candidates = max(len(scores.values), max(scores.chosen, default=-1) + 1, 1)
    values = scores.values or tuple(
        1.0 if i in set(scores.chosen) else 0.15 for i in range(candidates)
    )
    positions = [round(WIDTH * (i + 0.5) / candidates) for i in range(candidates)]
    shown = Scores(seconds=None, values=values, chosen=scores.chosen)
    of = f" of {len(scores.values):,}" if scores.values else ""
    caption = f"kept {len(scores.chosen):,}{of} candidates, by index"
    return (
        f'<figure class="choice">{_columns(positions, shown, css="track scores")}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


# --- confidence by step ---------------------------------------------------------------------


def confidence(steps: Sequence[AnswerStep], *, stopped: bool, names: Mapping[int, str]) -> str:
    """Return the confidence after each answer as a line, and where it stopped."""
    last = len(steps) - 1
    points = [
        (WIDTH * i / last if last else WIDTH / 2, 100 - 100 * min(max(s.confidence, 0.0), 1.0))
        for i, s in enumerate(steps)
    ]
    line = " ".join(f"{number(x, 1)},{number(y, 1)}" for x, y in points)
    same = [p for p, s in zip(points, steps, strict=True) if s.label == steps[last].label]
    other = [p for p, s in zip(points, steps, strict=True) if s.label != steps[last].label]
    dots = ""
    if len(steps) <= MAX_DOTS:
        dots = _dots(other, "other halo") + _dots(other, "other") + _dots(same[:-1], "same")
    marks = (
        '<path class="grid" d="M0 0H1000M0 50H1000M0 100H1000"/>'
        f'<path class="exit" d="M{number(points[-1][0], 1)} 0V100"/>'
        f'<polyline points="{line}"/>{dots}{_dots(points[-1:], "end")}'
    )
    said = ", ".join(percent(s.confidence) for s in steps[:12])
    chart = _svg(marks, css="confidence", label=f"confidence after each answer: {said}")
    ending = "stopped here: sure enough" if stopped else "ran to its end"
    key = '<i class="hollow"></i> another label was ahead' if other else ""
    scale = "<span>100 %</span><span>50</span><span>0</span>"
    return (
        f'<div class="chart"><div class="scale">{scale}</div><div class="plot">{chart}</div>'
        f'<div class="steps">{_step_names(steps)}</div></div>'
        f'<p class="key"><span class="exit-key"><i></i> {ending}, after '
        f"{count(len(steps), 'answer')}</span><span>{key}</span></p>"
        f"{_turns(steps, names)}"
    )


def _dots(points: Sequence[tuple[float, float]], css: str) -> str:
    path = "".join(f"M{number(x, 1)} {number(y, 1)}h0" for x, y in points)
    return f'<path class="dot {css}" d="{path}"/>' if path else ""


def _step_names(steps: Sequence[AnswerStep]) -> str:
    """Return at most seven positions below the line, with the frames looked at by then."""
    last = len(steps) - 1
    stride = max(1, -(-last // 6))
    shown = sorted({*range(0, last, stride), last}) if last else [0]
    if len(shown) > 1 and shown[-1] - shown[-2] < stride and len(shown) > 2:
        del shown[-2]
    names = []
    for i in shown:
        left = 100 * i / last if last else 50
        side = " first" if i == 0 and last else " last" if i == last and last else ""
        frames = steps[i].num_frames
        names.append(
            f'<span class="at{side}" style="left:{number(left)}%">{i + 1}'
            f"<small>{count(frames, 'frame')}</small></span>"
        )
    return "".join(names)


def _turns(steps: Sequence[AnswerStep], names: Mapping[int, str]) -> str:
    """Return one line on when the label that won went ahead, if it was not always."""
    labels = [s.label for s in steps]
    if labels[-1] is None or len(set(labels)) == 1:
        return ""
    since = next(i for i in range(len(labels) - 1, -1, -1) if labels[i] != labels[-1]) + 2
    winner = names.get(labels[-1], f"class {labels[-1]}")
    return f'<p class="aside">“{text(winner)}” has been ahead since answer {since}.</p>'
