"""What was measured and demanded, judged and laid out: for a terminal of 80 columns, as Markdown, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from bench_measure import Sample

PASS, FAIL, MISSING = "PASS", "FAIL", "MISSING"
OURS = "gitrun"


@dataclass(frozen=True)
class Row:
    """All runs of one contender."""

    key: str
    label: str
    samples: tuple[Sample, ...]

    @property
    def wall(self) -> float:
        return median(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        return median(sample.cpu for sample in self.samples)

    @property
    def memory(self) -> int:
        return max(sample.memory for sample in self.samples)


@dataclass(frozen=True)
class Bound:
    """What is demanded of gitrun: at most `limit` seconds or bytes, or `limit` times the seconds of a peer."""

    text: str
    limit: float
    peer: str = ""
    memory: bool = False


@dataclass(frozen=True)
class Judgement:
    verdict: str
    text: str
    seen: str


@dataclass(frozen=True)
class Outcome:
    """One case: its rows, what was found of it, and why it could not be measured, if so."""

    name: str
    title: str
    rows: tuple[Row, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Programs that are not installed, by the label of the contender that needs them."""
    error: str = ""


def faster_than(peer: str, name: str, times: float = 1) -> Bound:
    how = f"at least {times:g} times faster" if times > 1 else "faster"
    return Bound(f"{how} than {name}", 1 / times, peer)


def at_most(times: float, peer: str, name: str) -> Bound:
    return Bound(f"at most {times:g} times as long as {name}" if times > 1 else f"not slower than {name}", times, peer)


def under_seconds(limit: float) -> Bound:
    return Bound(f"under {limit:g} s", limit)


def under_memory(limit: int) -> Bound:
    return Bound(f"peak memory under {megabytes(limit)}", limit, memory=True)


def judge(bound: Bound, rows: Sequence[Row], error: str) -> Judgement:
    """The verdict on one demand; what was not measured has not passed."""
    by_key = {row.key: row for row in rows}
    if error:
        return Judgement(FAIL, bound.text, "not measured")
    if bound.peer and bound.peer not in by_key:
        return Judgement(MISSING, bound.text, f"{bound.peer} is not installed")
    figure, seen = _figure(bound, by_key)
    return Judgement(PASS if figure <= bound.limit else FAIL, bound.text, seen)


def _figure(bound: Bound, rows: Mapping[str, Row]) -> tuple[float, str]:
    ours = rows[OURS]
    if bound.memory:
        return ours.memory, megabytes(ours.memory)
    if not bound.peer:
        return ours.wall, seconds(ours.wall)
    ratio = ours.wall / rows[bound.peer].wall
    return ratio, f"{1 / ratio:.2f} times faster" if bound.limit < 1 or ratio <= 1 else f"{ratio:.2f} times as long"


# --- text -------------------------------------------------------------------------------------------------------------


def seconds(value: float) -> str:
    return f"{_digits(value)} s"


def _digits(value: float) -> str:
    """Three of them."""
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1}f}"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def text_of_case(outcome: Outcome) -> str:
    """The table of one case, at most 80 columns wide, with a verdict for each demand."""
    lines = [f"{outcome.name}: {outcome.title}", *_text_table(outcome)]
    lines += [f"  {label}: not installed: {', '.join(names)}" for label, names in outcome.missing.items()]
    lines += [f"  could not be measured: {outcome.error}"] if outcome.error else []
    lines += [f"  {line}" for line in _memory_notes(outcome.rows)]
    lines += [f"  {found.verdict:<7} {found.text}: {found.seen}" for found in outcome.judgements]
    return "\n".join(lines) + "\n"


def _text_table(outcome: Outcome) -> Iterator[str]:
    if outcome.rows:
        yield f"  {'':<21}{'wall':>9}{'fastest-slowest':>18}{'CPU':>9}{'memory':>9}{'x gitrun':>10}"
    for row in outcome.rows:
        spread = "-".join(_digits(wall) for wall in _spread(row))
        figures = f"{seconds(row.wall):>9}{spread:>18}{seconds(row.cpu):>9}{megabytes(row.memory):>9}"
        yield f"  {row.label:<21}{figures}{_against_ours(row, outcome.rows):>10}"


def _spread(row: Row) -> tuple[float, float]:
    walls = [sample.wall for sample in row.samples]
    return min(walls), max(walls)


def _against_ours(row: Row, rows: Sequence[Row]) -> str:
    ours = next((other for other in rows if other.key == OURS), row)
    return "" if row is ours else f"{row.wall / ours.wall:.2f}"


def _memory_notes(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        peak = max(row.samples, key=lambda sample: sample.memory)
        if peak.family:
            yield (
                f"{row.label}: largest process {megabytes(peak.largest)}, all together {megabytes(peak.family)},"
                f" {megabytes(peak.private)} of it not mapped files"
            )


def text_of_summary(outcomes: Sequence[Outcome]) -> str:
    """How many demands hold, and again by name those that do not."""
    found = [(outcome.name, judgement) for outcome in outcomes for judgement in outcome.judgements]
    counts = {verdict: sum(one.verdict == verdict for _, one in found) for verdict in (PASS, FAIL, MISSING)}
    lines = [f"Demands: {counts[PASS]} hold, {counts[FAIL]} fail, {counts[MISSING]} could not be judged."]
    lines += [f"  {one.verdict:<7} {name}: {one.text}: {one.seen}" for name, one in found if one.verdict != PASS]
    unmeasured = [outcome for outcome in outcomes if outcome.error and not outcome.judgements]
    return "\n".join(lines + [f"  not measured: {outcome.name}: {outcome.error}" for outcome in unmeasured])


# --- Markdown and JSON ------------------------------------------------------------------------------------------------


def markdown(machine: Mapping[str, str], outcomes: Sequence[Outcome]) -> str:
    """The whole report for a page: the machine, the demands, the figures."""
    parts = [[f"- {name}: {value}" for name, value in machine.items()]]
    parts.append(_markdown_table(("demand", "seen", "verdict"), "lll", _demands(outcomes)))
    header = ("case", "command", "wall", "fastest", "slowest", "CPU", "memory", "x gitrun")
    parts.append(_markdown_table(header, "llrrrrrr", _figures(outcomes)))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _demands(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    for outcome in outcomes:
        for found in outcome.judgements:
            yield f"{outcome.name}: {found.text}", found.seen, found.verdict


def _figures(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    for outcome in outcomes:
        for row in outcome.rows:
            times = [seconds(value) for value in (row.wall, *_spread(row), row.cpu)]
            yield outcome.name, f"`{row.label}`", *times, megabytes(row.memory), _against_ours(row, outcome.rows)


def _markdown_table(header: Sequence[str], sides: str, rows: Iterator[tuple[str, ...]]) -> list[str]:
    rule = ["---:" if side == "r" else "---" for side in sides]
    return [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]


def as_json(machine: Mapping[str, str], outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Everything that was measured; times in seconds, memory in bytes."""
    return {"machine": dict(machine), "cases": [asdict(outcome) for outcome in outcomes]}
