"""Libraries and programs that compilers of other languages make."""

import shutil
import subprocess

import pytest
from harness import need
from harness.run import PLACEMENT, fixed_libraries

RUST_LIBRARY = """
use std::cell::Cell;
use std::collections::BTreeMap;
trait Shape { fn area(&self) -> i32; }
struct Square(i32);
struct Circle(i32);
impl Shape for Square { fn area(&self) -> i32 { self.0 * self.0 } }
impl Shape for Circle { fn area(&self) -> i32 { 3 * self.0 * self.0 } }
static SHAPES: [&(dyn Shape + Sync); 2] = [&Square(3), &Circle(2)];
thread_local! { static CALLS: Cell<i32> = Cell::new(40); }
extern "C" { fn interposed(n: i32) -> i32; }
#[no_mangle]
pub extern "C" fn areas() -> i32 {
    CALLS.with(|calls| calls.set(calls.get() + 1));
    let names: BTreeMap<String, i32> = SHAPES.iter().enumerate().map(|(i, s)| (format!("s{i}"), s.area())).collect();
    let caught = std::panic::catch_unwind(|| { if names.len() == 2 { std::panic::resume_unwind(Box::new(1)) } });
    names.values().sum::<i32>() + CALLS.with(|c| c.get()) + caught.is_err() as i32 * 100 + unsafe { interposed(1) }
}
"""
RUST_USER = """
#include <stdio.h>
int areas(void);
int interposed(int n) { return n * 1000; }
int main(void) { int first = areas(); printf("%d %d\\n", first, areas()); return 0; }
"""
RUST_PROGRAM = """
use std::{fmt::Write, sync::mpsc, thread};
fn main() {
    let (to, from) = mpsc::channel();
    let other = thread::spawn(move || for i in 0..4 { to.send(i * i).unwrap() });
    let mut text = String::new();
    for number in from { write!(text, "{number} ").unwrap(); }
    other.join().unwrap();
    println!("{text}{}", std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(7))).is_err());
}
"""
GO_LIBRARY = """package main
import "C"
import ("sort"; "strings")
type shape interface { area() int }
type square struct { side int }
type circle struct { radius int }
func (s square) area() int { return s.side * s.side }
func (c circle) area() int { return 3 * c.radius * c.radius }
var shapes = map[string]shape{ "square": square{3}, "circle": circle{2} }
//export Areas
func Areas(factor C.int) C.int {
	sum := make(chan int)
	var names []string
	for name := range shapes { names = append(names, name) }
	sort.Strings(names)
	go func() { for _, name := range names { sum <- shapes[name].area() }; close(sum) }()
	total := 0
	for area := range sum { total = total * 100 + area }
	defer func() { recover() }()
	if strings.Join(names, " ") != "circle square" { panic("order") }
	return C.int(total) * factor
}
func main() {}
"""
GO_USER = """
#include <stdio.h>
int Areas(int factor);
int main(void) { printf("%d\\n", Areas(2)); return 0; }
"""


def rustc(case, name, source, *options):
    """Compiles SOURCE to CASE/NAME."""
    where = case.path.with_name(f"{case.path.name}-source")
    where.mkdir(exist_ok=True)
    text = where / "source.rs"
    text.write_text(source)
    done = subprocess.run([need.tool("rustc"), "--edition=2021", *options, "-o", case.path / name, text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check(case, expected, *libraries, **options):
    """A whole life; LIBRARIES are fixed with --fixed."""
    case.adopt()
    if PLACEMENT == "fixed":
        twin = case.twin()
        fixed = {path.rsplit("/", 1)[1] for path in fixed_libraries(twin.prelink(options=("-f", "-v")))}
        shutil.rmtree(twin.path)
        assert set(libraries) <= fixed, fixed
    case.check(expected, **options)


@pytest.mark.parametrize("options", [[], ["-Copt-level=2", "-Clink-arg=-Wl,-z,norelro"], ["-Clink-arg=-fuse-ld=lld"]],
                         ids=["plain", "optimized", "lld"])
def test_rust_library(case, options):
    rustc(case, "lib/librs.so", RUST_LIBRARY, "--crate-type=cdylib", "-Cstrip=symbols", "-Clink-arg=-Wl,-soname,librs.so", *options)
    case.program(RUST_USER, ["librs.so"], ["-Wl,--export-dynamic"])
    check(case, "1162 1163\n", "librs.so")


def test_rust_program(case):
    rustc(case, "bin/prog", RUST_PROGRAM)
    check(case, "0 1 4 9 true\n")


def test_rust_program_with_the_shared_standard_library(case):
    rustc(case, "bin/prog", RUST_PROGRAM, "-Cprefer-dynamic")
    done = subprocess.run([need.tool("rustc"), "--print", "target-libdir"], capture_output=True, text=True, check=True)
    subprocess.run(f"cp -L {done.stdout.strip()}/libstd-*.so {case.lib}", shell=True, check=True)
    check(case, "0 1 4 9 true\n")


def test_go_library(case):
    """Its constructor starts threads with stacks of their own; a thread-local variable is in the static TLS block."""
    where = case.path.with_name(f"{case.path.name}-source")
    where.mkdir()
    (where / "main.go").write_text(GO_LIBRARY)
    go = need.tool("go")
    done = subprocess.run([go, "build", "-buildmode=c-shared", "-ldflags=-s -w -extldflags=-Wl,-soname,libgo.so",
                           "-o", case.lib / "libgo.so", "main.go"], cwd=where, capture_output=True, text=True,
                          env={"PATH": need.PATH, "HOME": str(where), "GO111MODULE": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local"})
    assert done.returncode == 0, done.stderr
    (case.lib / "libgo.h").unlink()
    case.program(GO_USER, ["libgo.so"])
    check(case, "2418\n", "libgo.so", stages=["relocated"])
