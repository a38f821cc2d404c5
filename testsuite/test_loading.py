"""Opening libraries at run time: dlopen, dlmopen, dlclose, and ld.so as a command."""

import pytest

from harness.run import DEBUG, REQUIRE

HEAD = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n#include <string.h>\n#include <pthread.h>\n"
ANSWER = "sum 146 counter 46 same 1 1\n"


def check(case, body, expected):
    case.library("liba.so", "int value = 1; int f(void) { return value; } int (*at)(void) = f;")
    case.library("libother.so", "int f(void); int other(void) { return f() + 10; } int (*po)(void) = f;", ["liba.so"])
    case.program(HEAD + "int f(void); extern int value;\nint main(int argc, char **argv)\n{\n" + body
                 + "\nreturn 0;\n}", ["liba.so"])
    case.check(expected)


def test_open_another_library(case):
    check(case, """
void *handle = dlopen("libother.so", RTLD_LAZY);
int (*other)(void) = dlsym(handle, "other");
value = 5;
printf("%d\\n", other());
printf("%d %d\\n", dlclose(handle), dlopen("libother.so", RTLD_NOLOAD) == 0);""", "15\n0 1\n")


def test_open_again_and_again(case):
    check(case, """
for (int i = 0; i < 100; i++) {
    void *handle = dlopen("libother.so", i % 2 ? RTLD_NOW : RTLD_LAZY);
    if (((int (*)(void))dlsym(handle, "other"))() != 11 || dlclose(handle)) puts("wrong");
}
puts("done");""", "done\n")


def test_open_and_close_a_library_of_the_closure(case):
    check(case, """
void *handle = dlopen("liba.so", RTLD_NOW);
int same = dlsym(handle, "f") == (void *)f;
printf("%d %d %d\\n", same, dlclose(handle), f());""", "1 0 1\n")


def test_open_and_close_libc(case):
    check(case, """
void *handle = dlopen("libc.so.6", RTLD_NOW);
printf("%d %d\\n", dlsym(handle, "puts") == dlsym(RTLD_DEFAULT, "puts"), dlclose(handle));""", "1 0\n")


def test_open_what_does_not_exist(case):
    check(case, 'dlopen("libnone.so", RTLD_NOW); puts(strstr(dlerror(), "cannot open"));',
          "cannot open shared object file: No such file or directory\n")


def test_open_a_library_with_an_undefined_symbol(case):
    case.library("libbad.so", "int nowhere(void); int (*at)(void) = nowhere;", flags=["-Wl,-z,undefs"])
    check(case, 'dlopen("libbad.so", RTLD_NOW); puts(strstr(dlerror(), "undefined"));',
          "undefined symbol: nowhere\n")


def test_look_up_by_every_handle(case):
    check(case, """
printf("%d %d %d\\n", dlsym(RTLD_DEFAULT, "f") == (void *)f, dlsym(RTLD_NEXT, "f") == (void *)f,
       dlsym(dlopen(NULL, RTLD_LAZY), "f") == (void *)f);
printf("%d\\n", dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.14") != 0);""", "1 1 1\n1\n")


def test_new_namespace(case):
    check(case, """
void *handle = dlmopen(LM_ID_NEWLM, "libother.so", RTLD_NOW);
int (*other)(void) = dlsym(handle, "other");
value = 5;
printf("%d\\n", other());
printf("%d\\n", dlclose(handle));""", "11\n0\n")


def test_libc_in_a_new_namespace(case):
    check(case, """
void *handle = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
int (*print)(const char *, ...) = dlsym(handle, "dprintf");
size_t (*length)(const char *) = dlsym(handle, "strlen");
printf("%d %d %d\\n", print != (void *)dprintf, (int)length("four"), f());
printf("%d\\n", dlclose(handle));""", "1 4 1\n0\n")


def test_several_namespaces(case):
    check(case, """
int sum = 0;
for (int i = 0; i < 8; i++)
    sum += ((int (*)(void))dlsym(dlmopen(LM_ID_NEWLM, "libother.so", RTLD_LAZY), "other"))();
printf("%d\\n", sum);""", "88\n")


def test_main_program_prelinked_and_opened_library_calls_back(case):
    case.library("libplugin.so", "int callback(int); int plugin(void) { return callback(3); }", flags=["-Wl,-z,undefs"])
    case.program(HEAD + 'int callback(int x) { return x * 2; } int main(void) { printf("%d\\n", ((int (*)(void))'
                 'dlsym(dlopen("libplugin.so", RTLD_NOW), "plugin"))()); return 0; }', flags=["-rdynamic"])
    case.check("6\n")


def test_opening_in_a_constructor(case):
    case.library("libplugin.so", "int plugin(void) { return 7; }")
    case.library("liba.so", HEAD + "int got; __attribute__((constructor)) static void begin(void)"
                 '{ got = ((int (*)(void))dlsym(dlopen("libplugin.so", RTLD_NOW), "plugin"))(); }')
    case.program(HEAD + 'extern int got; int main(void) { printf("%d\\n", got); return 0; }', ["liba.so"])
    case.check("7\n")


def test_opening_from_threads(case):
    check(case, """
auto void *work(void *unused);
void *work(void *unused)
{
    for (int i = 0; i < 20; i++) dlclose(dlopen("libother.so", RTLD_NOW));
    return 0;
}
pthread_t threads[4];
for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, work, 0);
for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
puts("done");""", "done\n")


def test_program_of_the_same_closure_that_is_not_prelinked(sampler):
    """Libraries are not changed, so others may use them; only libc has a stub."""
    other = sampler.program(HEAD + 'int square(int); int main(void) { printf("%d\\n", square(3)); return 0; }',
                            ["libbase.so"], name="other")
    sampler.prelink()
    done = sampler.run(program=other, env=REQUIRE)
    assert (done.stdout, done.notes) == ("9\n", [])


@pytest.mark.parametrize("options", [[], ["--inhibit-cache"], ["--argv0", "name"], ["--preload", "DIR/lib/libbase.so"],
                                     ["--library-path", "DIR/lib"]], ids=lambda options: (options or ["plain"])[0])
def test_loader_as_a_command(sampler, options):
    def scenario(directory):
        words = [word.replace("DIR", str(directory.path)) for word in options]
        return directory.run(*words, directory.prog, program="/lib64/ld-linux-x86-64.so.2", env=DEBUG)
    assert sampler.compare(scenario).stdout == ANSWER


def test_loader_verifies_and_lists(sampler):
    def scenario(directory):
        results = [directory.run(option, directory.prog, program="/lib64/ld-linux-x86-64.so.2")
                   for option in ("--verify", "--list")]
        lines = [line.split(" (0x")[0] for line in results[1].stdout.splitlines()]
        return results[0], lines, results[1].status
    assert sampler.compare(scenario)[0].status == 0
