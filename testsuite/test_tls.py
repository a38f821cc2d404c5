"""Thread-local storage: every model, across libraries, in the first and in other threads."""

import pytest

HEAD = "#include <pthread.h>\n#include <stdio.h>\n"
PIE = pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
LIBRARY = """
{model} __thread int a = 5;
{model} __thread int big[1000] = {{ 1, 2 }};
static {model} __thread int local = 3;
int *address(void) {{ return &a; }}
int sum(int add) {{ a += add; local++; return a + big[1] + local; }}
"""
PROGRAM = HEAD + """
extern __thread int a;
__thread int own = 9;
int sum(int), *address(void);
static void *work(void *out) { own++; *(int *)out = sum(1) * 10 + own + (address() == &a); return 0; }
int main(void)
{
    int first, second;
    pthread_t thread;
    sum(1); own = 20;
    pthread_create(&thread, 0, work, &first);
    pthread_join(thread, 0);
    work(&second);
    printf("%d %d\\n", first, second);
    return 0;
}"""
ANSWER = "131 162\n"


@pytest.mark.parametrize("dialect", ["gnu", "gnu2"])
@pytest.mark.parametrize("model", ["global-dynamic", "local-dynamic", "initial-exec"])
def test_models(case, model, dialect):
    attribute = f'__attribute__((tls_model("{model}")))'
    source = LIBRARY.format(model=attribute)
    if model == "local-dynamic":  # only for what cannot be interposed
        source = source.replace(attribute + " __thread int a", "__thread int a")
        source = source.replace(attribute + " __thread int big", "static " + attribute + " __thread int big")
    case.library("liba.so", source, flags=[f"-mtls-dialect={dialect}"])
    case.program(PROGRAM, ["liba.so"])
    case.check(ANSWER)


@PIE
@pytest.mark.parametrize("model", ["local-exec", "initial-exec"])
def test_models_of_programs(case, model, pie):
    case.library("liba.so", LIBRARY.format(model=""))
    source = PROGRAM.replace("__thread int own", f'__attribute__((tls_model("{model}"))) __thread int own')
    case.program(source, ["liba.so"], pie=pie)
    case.check(ANSWER)


def test_defined_by_the_program(case):
    case.library("liba.so", "extern __thread int own; int get(void) { return own++; }")
    case.program(HEAD + "__thread int own = 4; int get(void);"
                 'int main(void) { get(); printf("%d\\n", get() + own); return 0; }', ["liba.so"])
    case.check("11\n")


@pytest.mark.parametrize("dialect", ["gnu", "gnu2"])
def test_interposed(case, dialect):
    case.library("liba.so", "__thread int a = 1; int *get(void) { return &a; }", flags=[f"-mtls-dialect={dialect}"])
    case.library("libb.so", "__thread int a = 2;")
    case.program(HEAD + 'int *get(void); int main(void) { printf("%d\\n", *get()); return 0; }', ["libb.so", "liba.so"])
    case.check("2\n")


@pytest.mark.parametrize("dialect", ["gnu", "gnu2"])
def test_undefined_weak(case, dialect):
    case.library("liba.so", "extern __thread int gone __attribute__((weak)); int get(void) { return &gone == 0; }",
                 flags=[f"-mtls-dialect={dialect}"])
    case.program(HEAD + 'int get(void); int main(void) { get(); puts("ok"); return 0; }', ["liba.so"])
    case.check("ok\n")


def test_many_modules(case):
    names = [f"t{i}" for i in range(30)]
    for name in names:
        case.library(f"lib{name}.so", f"__thread int {name} = {len(name)}; int get_{name}(void) {{ return {name}++; }}")
    total = "+".join(f"get_{name}()" for name in names)
    case.program(HEAD + "".join(f"int get_{name}(void);" for name in names)
                 + f'int main(void) {{ printf("%d\\n", {total}); return 0; }}', [f"lib{name}.so" for name in names])
    case.check(f"{sum(len(name) for name in names)}\n")


def test_large_alignment(case):
    case.library("liba.so", "__thread _Alignas(4096) int a = 1; int get(void) { return (long)&a % 4096 == 0; }")
    case.program(HEAD + 'int get(void); int main(void) { printf("%d\\n", get()); return 0; }', ["liba.so"])
    case.check("1\n")


def test_library_opened_later(case):
    case.library("libb.so", "__thread int b = 6; int get(void) { return b++; }")
    case.library("liba.so", LIBRARY.format(model=""))
    case.program(HEAD + """#include <dlfcn.h>
int sum(int);
int main(void)
{
    int (*get)(void) = dlsym(dlopen("libb.so", RTLD_NOW), "get");
    get();
    printf("%d %d\\n", get(), sum(1));
    return 0;
}""", ["liba.so"])
    case.check("7 12\n")


def test_errno_of_each_thread(case):
    case.program(HEAD + """#include <errno.h>
static void *work(void *out) { *(int *)out = errno; errno = 5; return 0; }
int main(void)
{
    int value = 1;
    pthread_t thread;
    errno = 7;
    pthread_create(&thread, 0, work, &value);
    pthread_join(thread, 0);
    printf("%d %d\\n", value, errno);
    return 0;
}""")
    case.check("0 7\n")


def test_cxx_thread_local_objects(case):
    source = "#include <string>\nstruct S { std::string s = \"x\"; ~S() { s.clear(); } };\n"
    case.library("liba.so", source + "thread_local S object; std::string &get() { return object.s; }", lang="c++")
    case.program(source + HEAD + """#include <thread>
extern thread_local S object; std::string &get();
int main()
{
    get() += "main";
    std::string other;
    std::thread([&] { object.s += "thread"; other = get(); }).join();
    printf("%s %s\\n", object.s.c_str(), other.c_str());
}""", ["liba.so"], lang="c++")
    case.check("xmain xthread\n")
