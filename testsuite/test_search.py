"""Where ld.so finds libraries, and in which order it loads them."""

PRINT = '#include <stdio.h>\nint f(void); int main(void) { printf("%d\\n", f()); return 0; }'
ONE, TWO = "int f(void) { return 1; }", "int f(void) { return 2; }"
NEW, OLD = "-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"


def test_runpath(case):
    case.library("liba.so", ONE, where="other")
    case.program(PRINT, [case.path / "other/liba.so"], [NEW, f"-Wl,-rpath,{case.path}/other"])
    case.check("1\n")


def test_rpath_beats_library_path(case):
    case.library("liba.so", TWO)
    case.library("liba.so", ONE, where="other")
    case.program(PRINT, ["liba.so"], [OLD, f"-Wl,-rpath,{case.path}/other"])
    case.check("1\n")


def test_library_path_beats_runpath(case):
    case.library("liba.so", TWO)
    case.library("liba.so", ONE, where="other")
    case.program(PRINT, ["liba.so"], [NEW, f"-Wl,-rpath,{case.path}/other"])
    case.check("2\n")


def test_rpath_of_the_program_serves_its_libraries(case):
    inner = case.library("liba.so", ONE, where="other")
    case.library("libb.so", "int f(void); int g(void) { return f(); }", [inner])
    case.program(PRINT.replace("f()", "g()").replace("f(void)", "g(void)"), ["libb.so"],
                 [OLD, f"-Wl,-rpath,{case.path}/other"])
    case.check("1\n")


def test_runpath_of_the_program_does_not_serve_its_libraries(case):
    inner = case.library("liba.so", ONE, where="other")
    case.library("libb.so", "int f(void); int g(void) { return f(); }", [inner], [NEW, f"-Wl,-rpath,{case.path}/third"])
    case.library("liba.so", TWO, where="third")
    case.program(PRINT.replace("f()", "g()").replace("f(void)", "g(void)"), ["libb.so"],
                 [NEW, f"-Wl,-rpath,{case.path}/other"])
    case.check("2\n")


def test_rpath_of_a_library_with_runpath_is_not_inherited(case):
    """A library with RUNPATH ignores the RPATHs of whatever loaded it."""
    inner = case.library("liba.so", ONE, where="other")
    case.library("liba.so", TWO, where="third")
    case.library("libb.so", "int f(void); int g(void) { return f(); }", [inner], [NEW, f"-Wl,-rpath,{case.path}/third"])
    case.program(PRINT.replace("f()", "g()").replace("f(void)", "g(void)"), ["libb.so"],
                 [OLD, f"-Wl,-rpath,{case.path}/other"])
    case.check("2\n")


def test_origin(case):
    case.library("liba.so", ONE, where="bin/plugins")
    case.program(PRINT, [case.bin / "plugins/liba.so"], [NEW, "-Wl,-rpath,$ORIGIN/plugins"])
    case.check("1\n")


def test_origin_of_a_library(case):
    case.library("liba.so", ONE, where="lib/inner")
    case.library("libb.so", "int f(void); int g(void) { return f(); }", [case.lib / "inner/liba.so"],
                 [NEW, "-Wl,-rpath,${ORIGIN}/inner"])
    case.program(PRINT.replace("f()", "g()").replace("f(void)", "g(void)"), ["libb.so"])
    case.check("1\n")


def test_lib_token(case):
    case.library("liba.so", ONE, where="bin/lib/x86_64-linux-gnu")
    case.program(PRINT, [case.bin / "lib/x86_64-linux-gnu/liba.so"], [NEW, "-Wl,-rpath,$ORIGIN/$LIB"])
    case.check("1\n")


def test_hwcaps_directory_of_the_library_path(case):
    case.library("liba.so", TWO)
    case.program(PRINT, ["liba.so"])
    case.library("liba.so", ONE, where="lib/glibc-hwcaps/x86-64-v2")
    case.check("1\n")


def test_hwcaps_directory_of_a_runpath(case):
    case.library("liba.so", TWO, where="other")
    case.library("liba.so", ONE, where="other/glibc-hwcaps/x86-64-v2")
    case.program(PRINT, [case.path / "other/liba.so"], [NEW, f"-Wl,-rpath,{case.path}/other"])
    case.check("1\n")


def test_foreign_library_in_the_way_is_passed_over(case):
    """A 32-bit library, or one of another machine, of the same name earlier in the path is ignored by ld.so."""
    case.library("liba.so", ONE, where="other")
    case.program(PRINT, [case.path / "other/liba.so"], [NEW, f"-Wl,-rpath,{case.path}/wrong:{case.path}/other"])
    wrong = case.library("liba.so", TWO, where="wrong")
    data = bytearray(wrong.read_bytes())
    data[4] = 1  # ELFCLASS32
    wrong.write_bytes(data)
    case.check("1\n")


def test_needed_by_path(case):
    path = case.library("liba.so", ONE, where="other", soname=str(case.path / "other/liba.so"))
    case.program(PRINT, [path])
    case.check("1\n")


def test_symbolic_link_to_a_library(case):
    case.library("liba.so.1.2", ONE, soname="liba.so.1")
    (case.lib / "liba.so.1").symlink_to("liba.so.1.2")
    case.program(PRINT, ["liba.so.1.2"])
    case.check("1\n")


def test_one_library_under_two_names(case):
    """Both names lead to one inode: ld.so maps it once."""
    case.library("liba.so", ONE)
    (case.lib / "libalias.so").symlink_to("liba.so")
    case.library("libb.so", "int f(void); int (*at)(void) = f;")
    stub = case.library("libalias.so", "int f(void) { return 5; }", where="stub")
    case.program(PRINT, [stub, "liba.so", "libb.so"])
    case.check("1\n")


def test_already_loaded_soname(case):
    """libb needs liba.so, which is nowhere on its path, but the program has loaded it from elsewhere."""
    first = case.library("liba.so", ONE, where="other")
    case.library("libb.so", "int f(void); int (*at)(void) = f;", [first])
    case.program(PRINT.replace("f()", "at()").replace("int f(void)", "extern int (*at)(void)"),
                 [first, "libb.so"], [NEW, f"-Wl,-rpath,{case.path}/other"])
    case.check("1\n")


def test_same_soname_in_two_directories(case):
    """Needed by absolute paths: two different libraries with one soname are both loaded."""
    one = case.library("liba.so", ONE + "int one(void) { return 10; }", where="one")
    two = case.library("liba.so", TWO + "int two(void) { return 20; }", where="two")
    case.library("libx.so", "int one(void); int (*x)(void) = one;", [one], [NEW, f"-Wl,-rpath,{case.path}/one"])
    case.library("liby.so", "int two(void) __attribute__((weak)); int (*y)(void) = two;", [two],
                 [NEW, f"-Wl,-rpath,{case.path}/two"])
    case.program('#include <stdio.h>\nextern int (*x)(void), (*y)(void);'
                 'int main(void) { printf("%d %d\\n", x(), y ? y() : 0); return 0; }', ["libx.so", "liby.so"])
    case.check("10 0\n")


def test_same_file_name_with_different_sonames(case):
    one = case.library("liba.so", "int one(void) { return 10; }", where="one", soname=str(case.path / "one/liba.so"))
    two = case.library("liba.so", "int two(void) { return 20; }", where="two", soname=str(case.path / "two/liba.so"))
    case.program('#include <stdio.h>\nint one(void), two(void); int (*x)(void) = one, (*y)(void) = two;'
                 'int main(void) { printf("%d %d\\n", x(), y()); return 0; }', [one, two])
    case.check("10 20\n")


def test_dependency_cycle(case):
    case.library("libb.so", "int b(void);", where="stub")
    case.library("liba.so", "int b(void), c(void); int a(void) { return 1; } int (*pa[])(void) = { a, b, c };",
                 [case.path / "stub/libb.so"])
    case.library("libc1.so", "int a(void); int c(void) { return 3; } int (*pc)(void) = a;", ["liba.so"])
    case.library("libb.so", "int a(void); int b(void) { return 2; } int (*pb)(void) = a;", ["libc1.so", "liba.so"])
    case.program('#include <stdio.h>\nextern int (*pa[])(void), (*pb)(void), (*pc)(void);'
                 'int main(void) { printf("%d%d%d%d%d\\n", pa[0](), pa[1](), pa[2](), pb(), pc()); return 0; }', ["liba.so", "libb.so", "libc1.so"])
    case.check("12311\n")


def test_cycle_whose_constructors_call_each_other(case):
    case.library("libb.so", "int b(void);", where="stub")
    body = "#include <stdio.h>\nint {y}(void); int {x}(void) {{ return 1; }}" \
           "__attribute__((constructor)) static void begin(void) {{ printf(\"{x}%d \", {y}()); }}"
    case.library("liba.so", body.format(x="a", y="b"), [case.path / "stub/libb.so"])
    case.library("libb.so", body.format(x="b", y="a"), ["liba.so"])
    case.program('#include <stdio.h>\nint a(void); int main(void) { puts("main"); return a() - 1; }', ["liba.so"])
    case.adopt()
    case.check(case.run().stdout)


def test_diamond(case):
    case.library("libbase.so", "int base = 1;")
    for side in ("left", "right"):
        case.library(f"lib{side}.so", f"extern int base; int *{side} = &base;", ["libbase.so"])
    case.program('#include <stdio.h>\nextern int *left, *right; int main(void)'
                 '{ printf("%d\\n", left == right); return 0; }', ["libleft.so", "libright.so"])
    case.check("1\n")


def test_deep_chain(case):
    case.library("lib0.so", "int f0(void) { return 0; }")
    for i in range(1, 60):
        case.library(f"lib{i}.so", f"int f{i - 1}(void); int f{i}(void) {{ return f{i - 1}() + 1; }}"
                     f"int (*p{i})(void) = f{i - 1};", [f"lib{i - 1}.so"])
    case.program('#include <stdio.h>\nint f59(void); int main(void) { printf("%d\\n", f59()); return 0; }', ["lib59.so"])
    case.check("59\n")


def test_constructors_run_in_dependency_order(case):
    source = "#include <stdio.h>\n{} __attribute__((constructor)) static void begin(void) {{ printf(\"{} \"); fflush(stdout); }}" \
             "int {}(void) {{ return 0; }}"
    case.library("libc1.so", source.format("", "c", "c"))
    case.library("libb.so", source.format("int c(void); int (*pc)(void) = c;", "b", "b"), ["libc1.so"])
    case.library("liba.so", source.format("int b(void); int (*pb)(void) = b;", "a", "a"), ["libb.so"])
    case.program('#include <stdio.h>\nint a(void); int main(void) { puts("main"); return a(); }', ["liba.so"])
    case.check("c b a main\n")


def test_preload_given_when_prelinking(case):
    """--ld-preload: tables for a start with that preload."""
    case.library("libp.so", TWO)
    case.library("liba.so", ONE)
    case.program(PRINT, ["liba.so"])
    case.options = [f"--ld-preload={case.lib}/libp.so"]
    case.check("2\n", env={"LD_PRELOAD": str(case.lib / "libp.so")})
