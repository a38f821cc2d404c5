"""Programs that look at themselves: memory, headers, link maps, auxiliary vector."""

import os

import pytest

from harness import build

PIE = pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
HEAD = "#define _GNU_SOURCE\n#include <elf.h>\n#include <link.h>\n#include <stdio.h>\n#include <stdlib.h>\n" \
       "#include <string.h>\n#include <sys/auxv.h>\n#include <unistd.h>\n#include <dlfcn.h>\n#include <fcntl.h>\n"
LIBRARY = "int value = 1; int f(void) { return value; }"


def check(case, body, expected, pie=True, before="", **options):
    case.library("liba.so", LIBRARY)
    case.program(HEAD + "int f(void); extern int value; int (*at)(void) = f;" + before
                 + "\nint main(int argc, char **argv, char **envp)\n{\n" + body + "\nreturn 0;\n}", ["liba.so"], pie=pie,
                 **options)
    case.check(expected)


@PIE
def test_program_break(case, pie):
    """brk starts behind the program's last segment, and stays usable."""
    check(case, """
char *end = sbrk(0), *more = sbrk(1 << 20);
extern char _end[];
memset(more, 1, 1 << 20);
printf("%d %d %d\\n", more == end, end >= _end, sbrk(0) == end + (1 << 20));""", "1 1 1\n", pie)


@PIE
@pytest.mark.parametrize("prefix", [["setarch", "-R"], ["setarch", "-L"], ["setarch", "-RL"]], ids=["R", "L", "RL"])
def test_program_break_without_randomisation(case, pie, prefix):
    case.program(HEAD + 'int main(void) { char *p = sbrk(1 << 24); memset(p, 1, 1 << 24); p = malloc(1 << 16);'
                 'memset(p, 1, 1 << 16); printf("%d\\n", p != 0); return 0; }', pie=pie)
    case.adopt()
    case.prelink()
    assert case.run_fast(prefix=prefix).stdout == "1\n"


@PIE
def test_malloc(case, pie):
    check(case, """
char *all[2000];
for (int i = 0; i < 2000; i++) memset(all[i] = malloc(i * 37 % 70000), i, i * 37 % 70000);
int bad = 0;
for (int i = 1; i < 2000; i++) { bad += i * 37 % 70000 && all[i][0] != (char)i; free(all[i]); }
printf("%d\\n", bad);""", "0\n", pie)


@PIE
def test_own_header(case, pie):
    check(case, 'extern const Elf64_Ehdr __ehdr_start; printf("%d\\n", memcmp(&__ehdr_start, ELFMAG, 4) == 0);', "1\n", pie)


@PIE
def test_own_file(case, pie):
    """The headers in memory are those of /proc/self/exe, and the program headers lie where AT_PHDR says."""
    check(case, """
extern const Elf64_Ehdr __ehdr_start;
Elf64_Ehdr header;
Elf64_Phdr file[64], *memory = (void *)getauxval(AT_PHDR);
int fd = open("/proc/self/exe", O_RDONLY);
pread(fd, &header, sizeof(header), 0);
pread(fd, file, header.e_phnum * sizeof(*file), header.e_phoff);
printf("%d %d %d\\n", memcmp(&header, &__ehdr_start, sizeof(header)) == 0, getauxval(AT_PHNUM) == header.e_phnum,
       memcmp(file, memory, header.e_phnum * sizeof(*file)) == 0);""", "1 1 1\n", pie)


@PIE
def test_program_header_segment(case, pie):
    """PT_PHDR, if there, says where the headers are; the load bias computed from it is the real one."""
    check(case, """
Elf64_Phdr *headers = (void *)getauxval(AT_PHDR);
struct link_map *map = dlopen(NULL, RTLD_LAZY);
int good = 1;
for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++)
    if (headers[i].p_type == PT_PHDR) good = (char *)headers - headers[i].p_vaddr == (char *)map->l_addr;
printf("%d\\n", good);""", "1\n", pie)


@PIE
def test_entry_point(case, pie):
    check(case, 'extern char _start[]; printf("%d\\n", getauxval(AT_ENTRY) == (long)_start);', "1\n", pie)


@PIE
def test_iterating_over_objects(case, pie):
    check(case, 'dl_iterate_phdr(show, 0); printf("\\n");', "prog liba.so libc.so.6 ld-linux-x86-64.so.2 \n", pie, """
static int show(struct dl_phdr_info *info, size_t size, void *data)
{
    const char *name = info->dlpi_name[0] ? info->dlpi_name : "prog";
    if (strstr(name, "vdso")) return 0;
    printf("%s ", strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
    int loads = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) loads += info->dlpi_phdr[i].p_type == PT_LOAD;
    return loads == 0;
}""")


@PIE
def test_address_to_symbol(case, pie):
    check(case, """
Dl_info info, own;
dladdr(dlsym(RTLD_DEFAULT, "value"), &own);
dladdr(dlsym(RTLD_DEFAULT, "f"), &info);
printf("%s %s ", info.dli_sname, own.dli_sname);
printf("%d\\n", dladdr(main, &own) && strstr(own.dli_fname, "prog"));""",
          "f value 1\n", pie, flags=["-rdynamic"])


@PIE
def test_link_maps_through_the_debugger_interface(case, pie):
    check(case, """
int count = 0;
for (struct link_map *map = _r_debug.r_map; map; map = map->l_next) count++;
for (ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag; entry++)
    if (entry->d_tag == DT_DEBUG) printf("%d ", ((struct r_debug *)entry->d_un.d_ptr)->r_map == _r_debug.r_map);
printf("%d\\n", count >= 4);""", "1 1\n", pie)


def test_constructors_see_a_whole_process(case):
    """Before main: auxiliary vector, arguments, environment, own symbols, other libraries."""
    case.library("libb.so", "int f(void) { return 5; }")
    case.library("liba.so", HEAD + """
int f(void);
static int (*at)(void) = f;
__attribute__((constructor)) static void begin(int argc, char **argv, char **envp)
{
    Dl_info info;
    printf("%d %d %s %d\\n", argc, getauxval(AT_PAGESZ) == 4096, dladdr(begin, &info) ? "dladdr" : "", at());
    fflush(stdout);
}""", ["libb.so"])
    case.program(HEAD + 'int main(void) { puts("main"); return 0; }', ["liba.so"])
    case.adopt()
    case.check("1 1 dladdr 5\nmain\n")


def test_destructors_and_exit_handlers(case):
    case.library("liba.so", HEAD + '__attribute__((destructor)) static void end(void) { puts("library"); }')
    case.program(HEAD + 'static void last(void) { puts("handler"); }'
                 '__attribute__((destructor)) static void end(void) { puts("program"); }'
                 "int main(void) { atexit(last); return 0; }", ["liba.so"])
    case.check("handler\nprogram\nlibrary\n")


def test_name_is_a_symbolic_link(case):
    case.program(HEAD + 'int main(int c, char **v) { puts(strrchr(v[0], 47) + 1); return 0; }')
    case.adopt()
    (case.bin / "other").symlink_to("prog")
    case.prelink(case.bin / "other")
    assert (case.bin / "other").is_symlink()
    assert case.run_fast(program=case.bin / "other").stdout == "other\n"
    assert case.run_fast().stdout == "prog\n"


def test_prelinked_file_under_another_path(sampler):
    """What counts is the file, not its name: it is accelerated there too, or declines."""
    twin = sampler.twin()
    sampler.prelink()
    elsewhere = sampler.path / "elsewhere"
    sampler.prog.rename(elsewhere)
    plain = twin.run()
    fast = sampler.run(program=elsewhere, env={"FASTPRELINK_DEBUG": "1"})
    assert fast == plain and fast.notes


def test_arguments_and_environment(case):
    case.program(HEAD + 'extern char **environ; int main(int c, char **v) { for (int i = 1; i < c; i++) puts(v[i]);'
                 "int n = 0; while (environ[n]) n++; puts(getenv(\"A\")); return n == 0; }")
    case.adopt()
    twin = case.twin()
    case.prelink()
    arguments = ["", "two words", "x" * 100000]
    assert case.run(*arguments, env={"A": "b"}) == twin.run(*arguments, env={"A": "b"})


STARTER = HEAD + """
int main(int argc, char **argv)
{
    char *nothing[] = { NULL }, *empty[] = { "", NULL };
    char *with_path[] = { argv[2], NULL };
    execve(argv[1], atoi(argv[3]) ? empty : nothing, argc > 4 ? nothing : with_path);
    return 126;
}"""


@pytest.mark.parametrize("arguments", ["0", "1"], ids=["argv0-null", "argv0-empty"])
def test_unusual_argument_vectors(sampler, arguments):
    def scenario(directory):
        starter = directory.program(STARTER, name="starter")
        return directory.run(directory.prog, f"LD_LIBRARY_PATH={directory.lib}", arguments, program=starter)
    assert sampler.compare(scenario).stdout.startswith("sum 146")


def test_empty_environment(case):
    """Found through RPATH, as the empty environment cannot name the private libraries."""
    for name, libs in (("base", []), ("user", [case.lib / "libbase.so"])):
        case.library(f"lib{name}.so", build.CASES / f"{name}.c", libs)
    rpath = f"-Wl,--disable-new-dtags,-rpath,{case.lib}"
    case.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"], [rpath])
    starter = case.program(STARTER, name="starter")
    case.adopt()
    case.prelink()
    assert case.run(case.prog, "", "1", "empty", program=starter).stdout == "sum 146 counter 46 same 1 1\n"


def test_huge_environment(sampler):
    env = {f"VARIABLE_{i}": "x" * 1000 for i in range(1500)}
    sampler.prelink()
    assert sampler.run_fast(env=env).stdout.startswith("sum 146")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"], ids=["0", "1", "2", "all"])
def test_closed_standard_descriptors(case, closed):
    """The runtime's own files must not stay, nor take the place of, descriptors 0 to 2."""
    case.program(HEAD + """
int main(int argc, char **argv)
{
    int out = open(argv[1], O_WRONLY | O_CREAT, 0600);
    for (int fd = 0; fd < 20; fd++) if (fd != out) dprintf(out, "%d", fcntl(fd, F_GETFD) >= 0);
    return 0;
}""")

    def scenario(directory):
        report = directory.path.with_name("report")
        done = directory.run(report, prefix=["sh", "-c", f'exec "$0" "$@" {closed}'], close_fds=True)
        done.stdout += report.read_text()
        return done
    case.compare(scenario)


def test_low_limit_of_descriptors(sampler):
    """As few as plain ld.so can do with."""
    result = sampler.compare(lambda directory: [
        directory.run(prefix=["sh", "-c", f'ulimit -n {count}; exec "$0" "$@"']) for count in (3, 4, 5, 6, 8)])
    assert result[-1].stdout.startswith("sum 146")


def test_descriptors_are_not_leaked(case):
    case.program(HEAD + "#include <dirent.h>\nint main(void) { DIR *d = opendir(\"/proc/self/fd\"); int n = 0;"
                 'while (readdir(d)) n++; printf("%d\\n", n); return 0; }')
    assert case.compare(lambda directory: directory.run()).status == 0


def test_mappings_are_not_left(case):
    """Names in /proc/self/maps: exactly those of a plain process."""
    case.program(HEAD + "#include <stdio.h>\nint main(void) { char line[999]; FILE *f = fopen(\"/proc/self/maps\", \"r\");"
                 "while (fgets(line, 999, f)) if (strchr(line, '/')) puts(strchr(line, '/')); return 0; }")
    names = case.compare(lambda directory: sorted(set(directory.run().stdout.split())))
    assert "DIR/rt" not in names and "DIR/lib/libc.so.6" in names


def test_signal_state_is_untouched(case):
    case.program(HEAD + "#include <signal.h>\nint main(void) { sigset_t set; struct sigaction action; sigprocmask(0, 0, &set);"
                 'int n = 0; for (int i = 1; i < 64; i++) { sigaction(i, 0, &action); n += sigismember(&set, i)'
                 '+ (action.sa_handler != SIG_DFL); } printf("%d\\n", n); return 0; }')
    case.adopt()
    case.check(case.run().stdout)  # what the suite itself was started with, ignored interrupts in the background


def test_processor_state_is_untouched(case):
    """main sees the control words that plain ld.so leaves."""
    case.program(HEAD + "#include <fenv.h>\n#include <xmmintrin.h>\nint main(void) { unsigned short word;"
                 '__asm__("fnstcw %0" : "=m"(word)); unsigned long flags; __asm__("pushfq; pop %0" : "=r"(flags));'
                 'printf("%x %x %lx\\n", _mm_getcsr(), word, flags & 0x400); return 0; }', flags=["-O0"])
    case.check("1f80 37f 0\n")


def test_fork_and_exec(sampler):
    starter = sampler.program(HEAD + """#include <sys/wait.h>
int main(int argc, char **argv)
{
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) execl(argv[1], argv[1], NULL);
        wait(NULL);
    }
    return 0;
}""", name="starter")
    sampler.prelink(sampler.prog, starter)
    done = sampler.run_fast(sampler.prog, program=starter)
    assert done.stdout == "sum 146 counter 46 same 1 1\n" * 3
    assert len([note for note in done.notes if "accelerated" in note]) == 4


def test_program_started_by_descriptor(sampler):
    """fexecve: there is no path but /proc/self/fd."""
    def scenario(directory):
        starter = directory.program(HEAD + 'int main(int c, char **v) { char *a[] = { "name", NULL };'
                                    "fexecve(open(v[1], O_RDONLY | O_CLOEXEC), a, environ); return 126; }", name="starter")
        return directory.run(directory.prog, program=starter)
    assert sampler.compare(scenario).stdout.startswith("sum 146")


def test_program_is_executable_but_not_readable(sampler):
    """Mode 0711 of another owner: the kernel maps it; nobody can open it."""
    sampler.prelink()
    os.chmod(sampler.prog, 0o111)
    assert sampler.run_fast().stdout.startswith("sum 146")


STACK_END = '#include <stdio.h>\n%s void *__libc_stack_end%s; int main(void) { printf("%%d\\n", %s); return 0; }'


@PIE
def test_program_refers_to_the_end_of_the_stack(case, pie):
    """As V8 does (nodejs): by COPY where the compiler likes, so that libc's own reference leads into the program."""
    case.program(STACK_END % ("extern", "", "(char *)__libc_stack_end > (char *)__builtin_frame_address(0)"), pie=pie)
    case.check("1\n")


@PIE
@pytest.mark.parametrize("value", ["0", "(void *)16", "&__libc_stack_end"], ids=["null", "number", "itself"])
def test_program_defines_the_end_of_the_stack(case, pie, value):
    """Interposed by something else altogether: a plain start is right."""
    case.program(STACK_END % ("", f" = {value}", f"__libc_stack_end == {value}"), flags=["-rdynamic"], pie=pie)
    case.adopt()
    plain = case.run()
    case.prelink(case.program("int main(void) { return 0; }", name="other"))
    assert case.run() == plain and plain.status == 0, "not prelinked itself, but libc has the stub"
    case.prelink(status=None)
    assert case.run() == plain


def test_copy_of_the_loaders_private_data(case):
    """_dl_argv belongs to glibc alone: who copies it all the same starts right, accelerated or not."""
    case.program("int puts(const char *); extern char **_dl_argv; int main(void) { return puts(_dl_argv ? \"x\" : \"y\") < 0; }",
                 flags=["-Wl,--unresolved-symbols=ignore-all"], pie=False)
    assert case.compare(lambda directory: directory.run()).status == 0


@pytest.mark.parametrize("name", ["environ", "__environ", "_environ", "__libc_stack_end", "_r_debug", "program_invocation_name",
                                  "__progname", "optind", "stdout", "timezone", "sys_siglist", "__libc_enable_secure"])
def test_copies_of_loader_and_libc_data(case, name):
    """Some of it changes after the copy was made, or is written by ld.so itself."""
    case.library("liba.so", f"extern char *{name}; char **where = (char **)&{name};", flags=["-Wl,-z,undefs"])
    case.program(f"int printf(const char *, ...); extern char *{name}, **where; int main(void)"
                 f'{{ printf("%d %d\\n", where == &{name}, *where == {name}); return 0; }}', ["liba.so"],
                 ["-Wl,--unresolved-symbols=ignore-all"], pie=False)
    case.adopt()
    plain = case.run()
    case.check(plain.stdout) if plain.status == 0 else case.prelink(status=None)
    assert case.run() == plain


def test_copy_of_what_the_stub_starts_from(case):
    """ld.so fills the copy too late for the stub: a plain start, and a right one."""
    case.program("int printf(const char *, ...); extern char **_dl_argv; int main(int argc, char **argv)"
                 '{ (void)argc; printf("%d\\n", _dl_argv == argv); return 0; }',
                 flags=["-Wl,--unresolved-symbols=ignore-all"], pie=False)
    case.adopt()
    plain = case.run()
    case.prelink()
    assert case.run() == plain
