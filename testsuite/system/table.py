"""The tables at the end of a sweep."""

from collections import Counter

# Shares, in percent, that a whole desktop must reach.
ACCELERATED, REWRITTEN = 97, 95
HEAD = ("placement", "programs", "above threshold", "accelerated", "share", "equal", "differing", "left alone", "libraries",
        "rewritten", "share", "words", "look-ups", "seconds")


def text(plain, outcomes):
    """All tables of one sweep."""
    lines = [f"plain: {len(plain.started)} of {len(plain.results)} programs start, {lookups(plain)} look-ups compared, "
             f"{len(plain.different)} programs differ", "", *table([HEAD, *map(row, outcomes)])]
    for outcome in outcomes:
        passing = [result.program for result in outcome.results if result.passing]
        if passing:
            lines += ["", f"{outcome.placement}: differed in one start and not in another: {', '.join(passing)}"]
        lines += ["", f"{outcome.placement}: programs that are not accelerated"]
        lines += counted(programs_left(outcome))
        lines += ["", f"{outcome.placement}: libraries that float"]
        lines += counted(Counter(why for why in outcome.libraries.values() if why))
    return "\n".join(lines)


def row(outcome):
    skipped = len(outcome.results) - len(outcome.started)
    return (outcome.placement, len(outcome.results), outcome.above, outcome.accelerated,
            share(outcome.accelerated, outcome.above), len(outcome.started) - len(outcome.different), len(outcome.different),
            len(outcome.results) - outcome.accelerated - skipped, outcome.libraries_above, outcome.rewritten,
            share(outcome.rewritten, outcome.libraries_above), sum(result.words for result in outcome.results),
            lookups(outcome), round(outcome.seconds))


def lookups(outcome):
    return sum(result.lookups for result in outcome.results)


def share(part, whole):
    return f"{100 * part / whole:.1f}%" if whole else "-"


def programs_left(outcome):
    found = Counter(result.skipped for result in outcome.results if result.skipped)
    found.update(outcome.reasons.get(result.program) or "prelinked, but not accelerated" for result in outcome.started
                 if not result.accelerated)
    return found


def counted(reasons):
    """Lines with a number and a reason each, without what is about one file alone."""
    merged = Counter()
    for reason, count in reasons.items():
        merged[general(reason)] += count
    return [f"{count:8} {reason}" for reason, count in merged.most_common()]


def general(reason):
    """The part of REASON that is not about one file."""
    identifier, _, rest = reason.partition(": ")
    what, _, detail = rest.partition(": ")
    told = detail.partition("/")[0].strip() if identifier in ("floats", "unsupported", "no-room") else ""
    return ": ".join(filter(None, (identifier, what, told)))


def short_of(outcomes):
    """What of these OUTCOMES of a whole system does not reach the shares."""
    lines = []
    for outcome in outcomes:
        if 100 * outcome.accelerated < ACCELERATED * outcome.above:
            lines.append(f"{outcome.placement}: fewer than {ACCELERATED} % of the programs are accelerated")
        if outcome.placement == "fixed" and 100 * outcome.rewritten < REWRITTEN * outcome.libraries_above:
            lines.append(f"{outcome.placement}: fewer than {REWRITTEN} % of the libraries are rewritten")
    return lines


def table(rows):
    widths = [max(len(str(cells[column])) for cells in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" if column == 0 else f"{cell:>{width}}"
                      for column, (cell, width) in enumerate(zip(cells, widths))) for cells in rows]
