"""C++ across libraries: what the language promises when its parts lie in different objects."""

import pytest

PIE = pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
HEADER = """
#include <cstdio>
#include <stdexcept>
#include <string>
#include <typeinfo>
struct Base { virtual ~Base(); virtual std::string name() const; int id = 1; };
struct Left : virtual Base { std::string name() const override; };
struct Right : virtual Base { int more = 2; };
struct Both : Left, Right { std::string name() const override; };
struct Problem : std::runtime_error { using runtime_error::runtime_error; ~Problem() override; };
Base *make(int kind);
void fail(int kind);
template<class T> struct Counter { static int count; Counter() { count++; } };
template<class T> int Counter<T>::count;
inline int &shared() { static int value; return value; }
"""
LIB_A = HEADER + """
Base::~Base() {}
std::string Base::name() const { return "Base"; }
Problem::~Problem() {}
void fail(int kind) { if (kind == 1) throw Problem("p"); if (kind == 2) throw std::out_of_range("r"); throw 3; }
int in_a() { Counter<int> c; return ++shared(); }
"""
LIB_B = HEADER + """
std::string Left::name() const { return "Left"; }
std::string Both::name() const { return "Both/" + Left::name(); }
Base *make(int kind) { return kind == 0 ? new Base : kind == 1 ? new Left : static_cast<Base *>(new Both); }
int in_b() { Counter<int> c; return ++shared(); }
"""


def check(case, body, expected, pie=True, cc=None, flags=()):
    case.library("liba.so", LIB_A, lang="c++", cc=cc, flags=flags)
    case.library("libb.so", LIB_B, ["liba.so"], lang="c++", cc=cc, flags=flags)
    case.program(HEADER + "int in_a(), in_b();\nint main() {" + body + "}", ["libb.so", "liba.so"], lang="c++",
                 pie=pie, cc=cc, flags=flags)
    case.check(expected)


@PIE
@pytest.mark.parametrize("cc", ["g++", "clang++"])
def test_virtual_calls(case, pie, cc):
    check(case, 'for (int i = 0; i < 3; i++) std::printf("%s\\n", make(i)->name().c_str());',
          "Base\nLeft\nBoth/Left\n", pie, cc)


@PIE
def test_dynamic_cast_through_virtual_inheritance(case, pie):
    check(case, 'Base *b = make(2); std::printf("%d %d %d\\n", dynamic_cast<Right *>(b)->more,'
                'dynamic_cast<Both *>(b) != nullptr, dynamic_cast<Both *>(make(1)) != nullptr);', "2 1 0\n", pie)


@PIE
def test_typeinfo_is_one(case, pie):
    check(case, 'std::printf("%d %d\\n", typeid(*make(2)) == typeid(Both), &typeid(*make(1)) == &typeid(Left));',
          "1 1\n", pie)


@PIE
@pytest.mark.parametrize("cc", ["g++", "clang++"])
def test_exceptions(case, pie, cc):
    check(case, """
for (int i = 0; i < 3; i++)
    try { fail(i); }
    catch (Problem &p) { std::printf("problem %s\\n", p.what()); }
    catch (std::logic_error &e) { std::printf("logic %s\\n", e.what()); }
    catch (int i) { std::printf("int %d\\n", i); }
""", "int 3\nproblem p\nlogic r\n", pie, cc)


def test_exception_from_libstdcxx(case):
    check(case, 'try { std::string("x").at(5); } catch (std::out_of_range &) { std::puts("caught"); }', "caught\n")


def test_inline_statics_are_one(case):
    check(case, 'in_a(); in_b(); shared()++; Counter<int> c; std::printf("%d %d\\n", shared(), Counter<int>::count);',
          "3 3\n")


def test_iostream(case):
    case.program('#include <iostream>\nint main() { std::cout << "x" << 1.5 << std::endl; std::cerr << ""; }', lang="c++")
    case.check("x1.5\n")


def test_replaced_operator_new(case):
    """The program's operator new serves allocations that libstdc++ makes."""
    case.program("""
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
static int calls;
void *operator new(std::size_t n) { calls++; return std::malloc(n); }
void operator delete(void *p) noexcept { std::free(p); }
void operator delete(void *p, std::size_t) noexcept { std::free(p); }
int main() { std::string s; s.append(1000, 'x'); std::printf("%d\\n", calls); }""", lang="c++")
    case.check("1\n")


def test_static_objects_are_constructed_in_library_order(case):
    source = '#include <cstdio>\nstruct S{0} {{ S{0}() {{ std::printf("+{0} "); }} ~S{0}() {{ std::printf("-{0} "); }} }} {0};'
    case.library("liba.so", source.format("a"), lang="c++")
    case.library("libb.so", source.format("b"), ["liba.so"], lang="c++")
    case.program(source.format("m") + "int main() {}", ["libb.so"], lang="c++")
    case.check("+a +b +m -m -b -a ")


def test_unwinding_out_of_a_constructor_of_a_library(case):
    case.library("liba.so", '#include <stdexcept>\nvoid fail() { throw std::runtime_error("e"); }', lang="c++")
    case.library("libb.so", "#include <cstdio>\n#include <exception>\nvoid fail(); struct S { S() { try { fail(); }"
                 'catch (std::exception &e) { std::printf("early %s\\n", e.what()); } } } s;', ["liba.so"], lang="c++")
    case.program("int main() {}", ["libb.so"], lang="c++")
    case.check("early e\n")


@pytest.mark.parametrize("flags", [["-fvisibility-inlines-hidden"], ["-Wl,-Bsymbolic-functions"], ["-fno-plt"],
                                   ["-fno-gnu-unique"], ["-fuse-ld=lld"], ["-fuse-ld=gold"], ["-fuse-ld=mold"]],
                         ids=lambda flags: flags[0].lstrip("-"))
def test_build_options(case, flags):
    check(case, 'in_a(); in_b(); try { fail(1); } catch (Problem &) { std::printf("%s\\n", make(2)->name().c_str()); }',
          "Both/Left\n", flags=flags)
