"""The progress bar on a terminal, and the summary of runs over many files."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios

import pytest

from harness import build
from harness.run import fastprelink, placed

HELLO = "int main(void) { return 0; }"
MANY = 24  # more than gets a line each
ERASE = "\r\x1b[K"


@pytest.fixture
def many(case):
    """Programs with too little to gain, in directories with long names; none of them is worth a line."""
    directory = case.bin / ("deep-" * 20)
    directory.mkdir()
    case.program(HELLO)
    case.adopt()
    programs = []
    for i in range(MANY):
        programs.append(directory / f"program-{i}-ä")
        programs[-1].write_bytes(case.prog.read_bytes())
        programs[-1].chmod(0o755)
    case.programs = programs
    return case


def on_terminal(arguments, columns=80, term="xterm", both=False):
    """Runs the command with standard error, or BOTH, on a terminal; (what the terminal got, status)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    env = {"PATH": os.environ["PATH"], "FASTPRELINK_RUNTIME_SOURCE": str(build.RUNTIME), **({"TERM": term} if term else {})}
    with subprocess.Popen([build.TOOL, *map(str, arguments)], env=env, stdin=subprocess.DEVNULL, stderr=slave,
                          stdout=slave if both else subprocess.DEVNULL) as process:
        os.close(slave)
        said = b""
        while True:
            try:
                more = os.read(master, 65536)
            except OSError:  # how Linux tells that the other end was closed
                break
            if not more:
                break
            said += more
    os.close(master)
    return said.decode(), process.returncode


def screen(said):
    """The lines that are left on a terminal that was wide enough, without blanks at their ends."""
    lines = [""]
    column = 0
    for token in re.findall(r"\x1b\[K|\r|\n|[^\x1b\r\n]+", said):
        if token == "\r":
            column = 0
        elif token == "\n":
            lines.append("")
        elif token == "\x1b[K":
            lines[-1] = lines[-1][:column]
        else:
            lines[-1] = lines[-1][:column] + token + lines[-1][column + len(token):]
            column += len(token)
    return [line.rstrip() for line in lines]


def options(case, *more):
    return [*placed(list(more)), *case.places()]


def bars(said):
    return [bar for bar in re.split(r"\r\x1b\[K|\r?\n", said) if "%" in bar]


def test_bar(many):
    said, status = on_terminal([*options(many, "-n"), *many.programs])
    assert status == 1 and bars(said)
    assert re.match(rf"reading   \[#* *\] +\d+% \d+/{MANY} \S+\.\.\.\S+$", bars(said)[0]), bars(said)


@pytest.mark.parametrize("columns", [1, 2, 10, 30, 60, 79, 200])
def test_bar_is_shorter_than_the_line(many, columns):
    """On a terminal that is one column wide (the kernel knows such) the width is taken to be unknown."""
    said, _ = on_terminal([*options(many, "-n"), *many.programs], columns=columns)
    assert bars(said) or columns < 10
    assert all(len(bar) < (columns if columns > 1 else 80) for bar in bars(said))


def test_bar_is_wiped(many):
    """Of the bar nothing is left, whether lines come between or not."""
    said, _ = on_terminal([*options(many, "-n"), *many.programs])
    assert screen(said) == [""]
    done, _ = on_terminal([*options(many, "-n", "-v"), *many.programs], both=True)
    lines = screen(done)
    assert lines[-1] == "" and not any("%" in line for line in lines)
    assert sum("too few relocations" in line for line in lines) == MANY + 1 and lines[-2].startswith("0 to prelink, ")


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_no_bar_without_a_terminal_that_can(many, term):
    assert on_terminal([*options(many, "-n"), *many.programs], term=term)[0] == ""


def test_no_bar_in_a_pipe(many):
    done = fastprelink(*options(many, "-n"), *many.programs, status=1, env={"TERM": "xterm"})
    assert done.stderr == "" and "\x1b" not in done.stdout and "%" not in done.stdout


def test_no_bar_for_one_file(many):
    assert ERASE not in on_terminal(["-u", many.programs[0]])[0]


def test_bar_of_other_actions(many):
    said, _ = on_terminal(["--sha256", *many.programs])
    assert re.match(r"checking  \[", bars(said)[0])


def test_not_drawn_for_each_file(many):
    """Ten times a second is enough: this takes a fraction of one, on any machine less than a second for each file."""
    said, _ = on_terminal(["--sha256", *many.programs * 20])
    assert len(bars(said)) < MANY * 20


def test_summary_of_many(many):
    """What has little to gain is counted only; the reasons follow by number."""
    text = many.path / "text"
    text.write_text("text\n")
    done = fastprelink(*options(many, "-n"), *many.programs, text, status=1)
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"{MANY} skipped: too few relocations to gain from", "1 skipped: not an ELF file"]
    assert done.stderr.count("\n") == 1 and str(text) in done.stderr
    assert lines[-1].startswith(f"0 to prelink, 0 unchanged, {MANY + 1} skipped")


def test_few_files_get_a_line_each(many):
    done = fastprelink(*options(many, "-n"), *many.programs[:3], status=1)
    assert done.stderr.count("too few relocations to gain from") == 3
    assert done.stdout == "0 to prelink, 0 unchanged, 3 skipped\n"


def test_many_files_get_a_line_each_when_asked_for(many):
    done = fastprelink(*options(many, "-n", "-v"), *many.programs, status=1)
    assert done.stderr.count("too few relocations to gain from") == MANY


@pytest.mark.one_placement
def test_summary_names_what_is_saved(many):
    done = fastprelink(*options(many, "-f", "--aslr"), *many.programs)
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"\d+ kB added", lines[-3])
    assert re.fullmatch(rf"{MANY} programs accelerated, about \d+\.\d ms per start on average: (\S+ \d+\.\d ms(, |$)){{3}}", lines[-2])
    again = fastprelink(*options(many, "-f", "--aslr"), *many.programs).stdout.splitlines()
    assert "0 kB added" in again and lines[-2] in again


@pytest.mark.one_placement
def test_summary_record(sampler):
    """Everything that the lines say, and exactly."""
    other = sampler.program(HELLO, name="other")
    rows = [json.loads(line) for line in sampler.prelink(sampler.prog, other, sampler.lib / "libbase.so", options=("-f", "--fixed", "--json"),
                                                         status=1).stdout.splitlines()]
    programs = {row["file"]: row for row in rows if row.get("outcome") == "prelinked"}
    libraries = [row for row in rows if "placement" in row]
    summary = rows[-1]
    assert (summary["done"], summary["skipped"], summary["accelerated"], summary["unaccelerated"]) == (2, 1, 2, 0)
    assert summary["skipped_by"] == {"not-executable": 1}
    assert sum(summary["floating_by"].values()) == summary["floating"] == sum(row["placement"] == "floating" for row in libraries)
    assert summary["saved_ns"] == sum(row["saved_ns"] for row in programs.values())
    assert [entry["file"] for entry in summary["heaviest"]] == sorted(programs, key=lambda path: -programs[path]["saved_ns"])
    assert summary["added_size"] == (sum(row["added_size"] for row in [*programs.values(), *libraries])
                                     + summary["carrier"]["added_size"])
