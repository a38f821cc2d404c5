"""The C text of a chosen closure.

Each library has report_N(values, count), which appends what it reads and what its calls return, then lets the libraries that it needs do
the same, and pointers_N(pointers, count), which appends addresses.  The program prints the values, and for each address
the number of the first equal one."""

from generate.model import PROGRAM

VISIBILITY = {"weak": "__attribute__((weak)) ", "protected": '__attribute__((visibility("protected"))) ',
              "hidden": '__attribute__((visibility("hidden"))) ', "": ""}
TEXT_RELOCATION = """
__asm__(".text\\n.globl text_{0}\\n.hidden text_{0}\\n.type text_{0},@function\\n"
        "text_{0}: movabs ${1}, %rax\\nret\\n.size text_{0},.-text_{0}\\n");
void *text_{0}(void);
"""


def number(one, name):
    return (one.index + 1) * 1000 + int(name[1:]) * 10 + ord(name[0]) % 10


def model_of(one, name):
    model = one.models.get(name)
    return f'__attribute__((tls_model("{model}"))) ' if model else ""


def callee(one, name):
    """What the function NAME calls: another one that it knows."""
    names = [other for other in one.references if other[0] == "f" and other != name]
    return names[int(name[1:]) % len(names)] if names and one.chain else ""


def declare(one):
    """Declarations of everything that the object refers to or defines unversioned."""
    lines = []
    for name in [*one.references, *one.weak]:
        made = one.definitions.get(name)
        before = VISIBILITY[made.attribute] if made else ""
        if name in one.weak:
            before += "__attribute__((weak)) "
        if name[0] in "fw":
            lines.append(f"extern {before}int {name}(int);")
        elif name[0] == "d":
            lines.append(f"extern {before}int {name}[3];")
        elif name[0] == "u":
            lines.append(f"extern {before}int {name};")
        elif made is None:
            lines.append(f"extern {before}{model_of(one, name)}__thread int {name};")
    for name, version in one.old:
        lines += [f"extern int {name}_old_ref(int);", f'__asm__(".symver {name}_old_ref,{name}@{version}");']
    return lines


def function(one, name, label, value, before=""):
    other = callee(one, name)
    call = f" + (depth > 0 ? 3 * {other}(depth - 1) : 0)" if other else ""
    return f"{before}int {label}(int depth) {{ return {value}{call}; }}"


def define(one, made, versioned, shift):
    """The definition of MADE; SHIFT tells a second build's values from the first's."""
    name, value = made.name, number(one, made.name) + shift
    before = VISIBILITY[made.attribute]
    version = made.version if versioned else ""
    if made.kind in ("function", "ifunc"):
        label = f"{name}_new" if version and made.old else name
        lines = []
        if made.kind == "ifunc":
            lines += [function(one, name, f"{name}_chosen", value, "static "), f"static int {name}_other(int d) {{ return 7; }}",
                      f"static void *{name}_choose(void) {{ return {name}_chosen; int (*volatile u)(int) = {name}_other; }}",
                      f'{before}int {label}(int) __attribute__((ifunc("{name}_choose")));']
        else:
            lines.append(function(one, name, label, value, before))
        if version and made.old:
            lines += [function(one, name, f"{name}_older", value + 5),
                      f'__asm__(".symver {name}_older,{name}@{made.old}");',
                      f'__asm__(".symver {name}_new,{name}@@{version}");']
        return lines
    if made.kind == "data":
        return [f"{before}int {name}[3] = {{ {value}, {value + 1}, {value + 2} }};"]
    if made.kind == "bss":
        return [f"{before}int {name}[3];"]
    if made.kind == "thread":
        aligned = f"__attribute__((aligned({one.aligned}))) " if one.aligned else ""
        return [f"{before}{aligned}{model_of(one, name)}__thread int {name} = {value};"]
    return [f'__asm__(".pushsection .data\\n.globl {name}\\n.type {name},@gnu_unique_object\\n.size {name},4\\n'
            f'.balign 4\\n{name}: .long {value}\\n.popsection");', f"extern int {name};"]


def tables(one):
    """Words of data that lead to symbols: the object's own and others, with addends."""
    names = [name for name in one.references + one.weak]
    functions = [name for name in names if name[0] in "fw"]
    data = [f"&{name}[{index % 3}]" for index, name in enumerate(names) if name[0] == "d"]
    data += [f"&{name}" for name in names if name[0] == "u"]
    functions += [f"{name}_old_ref" for name, _ in one.old]
    return odd_tables(one, functions, data) + (
            f"int (*functions_{one.index}[])(int) = {{ {', '.join([*functions, '0'])} }};\n"
            f"int *data_{one.index}[] = {{ {', '.join([*data, '0'])} }};\n"
            f"static int local_{one.index} = {one.index + 3};\nstatic int *relative_{one.index}[] = "
            f"{{ &local_{one.index}, &local_{one.index} }};\n")


def odd_tables(one, functions, data):
    """Words at unusual places, or with unusual values; checks are what they must be equal to."""
    n, lines = one.index, []
    if one.constant:
        lines.append(f"int (*const constant_functions_{n}[])(int) = {{ {', '.join([*functions, '0'])} }};\n"
                     f"int *const constant_data_{n}[] = {{ {', '.join([*data, '0'])} }};")
    if one.packed:
        lines.append(f"static int packed_local_{n};\nstruct __attribute__((packed)) {{\n"
                     f"\tchar gap[{one.packed}]; int (*function)(int); int *data, *local[3];\n}} packed_{n} = "
                     f"{{ {{ 1 }}, {(functions or ['0'])[0]}, {(data or ['0'])[0]}, "
                     f"{{ &packed_local_{n}, &packed_local_{n} + 1, &packed_local_{n} }} }};")
    if one.far:
        lines.append(f"static char near_{n};\nchar *far_{n}[] = {{ &near_{n} + {one.far}ll, (char *){(data or ['0'])[0]} + {one.far}ll }};")
    if one.large:
        lines.append(f"static int large_{n}[{one.large // 4}];\nint *large_at_{n} = &large_{n}[{one.large // 8}];")
    return "\n".join([*lines, ""])


def odd_values(one):
    n, values = one.index, []
    if one.constant:
        values += [f"constant_functions_{n}[0] == functions_{n}[0]", f"constant_data_{n}[0] == data_{n}[0]"]
    if one.packed:
        values += [f"packed_{n}.function == functions_{n}[0]", f"packed_{n}.data == data_{n}[0]",
                   f"packed_{n}.local[1] - packed_{n}.local[0]", f"packed_{n}.local[2] == &packed_local_{n}"]
    if one.far:
        values += [f"far_{n}[0] - &near_{n}", f"far_{n}[1] - (char *)data_{n}[0]"]
    if one.large:
        values.append(f"large_at_{n} - large_{n} + *large_at_{n}")
    return values


def body(one):
    """report_N and pointers_N."""
    n, depth = one.index, one.chain
    values, pointers = [], []
    for name in one.references:
        if name[0] == "f":
            values.append(f"{name}({depth})")
            pointers.append(f"(void *){name}")
        elif name[0] == "d":
            values.append(f"{name}[1]")
            pointers.append(f"{name}")
        elif name[0] == "u":
            values.append(name)
            pointers.append(f"&{name}")
        else:
            values.append(f"{name}++")
            pointers.append(f"&{name}")
    for name in one.weak:
        test = f"(&{name}[0] != (int *)0)" if name[0] == "d" else f"((void *){name} != (void *)0)"
        values.append(f"{test} ? {name + '[1]' if name[0] == 'd' else name + '(0)'} : -1")
        pointers.append(f"(void *){name}")
    values += [f"{name}_old_ref(0)" for name, _ in one.old] + [f"*relative_{n}[1]"] + odd_values(one)
    if one.constructor:
        values.append(f"built_{n}")
    if one.local_ifunc:
        values += [f"ifunc_{n}()", f"ifunc_at_{n}()"]
    if one.text_relocation:
        pointers.append(f"text_{n}()")
    lines = [f"int report_{n}(long *values, int count)\n{{", "\tstatic int seen;", "\tif (seen++) return count;"]
    lines += [f"\tvalues[count++] = {value};" for value in values]
    lines += [f"\tfor (int i = 0; i < (int)(sizeof(functions_{n}) / 8); i++)\n"
              f"\t\tvalues[count++] = functions_{n}[i] ? functions_{n}[i]({depth}) : -1;",
              f"\tfor (int i = 0; i < (int)(sizeof(data_{n}) / 8); i++)\n"
              f"\t\tvalues[count++] = (unsigned long)data_{n}[i] > 4096 ? *data_{n}[i] : (long)data_{n}[i];"]
    lines += [f"\tcount = report_{need}(values, count);" for need in one.needs]
    lines += ["\treturn count;\n}", f"int pointers_{n}(const void **pointers, int count)\n{{", "\tstatic int seen;",
              "\tif (seen++) return count;"]
    lines += [f"\tpointers[count++] = {pointer};" for pointer in pointers]
    lines += [f"\tfor (int i = 0; i < (int)(sizeof(functions_{n}) / 8); i++)\n"
              f"\t\tpointers[count++] = (void *)functions_{n}[i];",
              f"\tfor (int i = 0; i < (int)(sizeof(data_{n}) / 8); i++)\n\t\tpointers[count++] = data_{n}[i];"]
    lines += [f"\tcount = pointers_{need}(pointers, count);" for need in one.needs]
    return "\n".join([*lines, "\treturn count;\n}\n"])


def extras(one):
    n, lines = one.index, []
    if one.constructor:
        calls = [f"{name}(1)" for name in one.references if name[0] == "f"] + [f"{name}[2]++" for name in one.references if name[0] == "d"]
        calls += [f"functions_{n}[0](0)"] if any(name[0] == "f" for name in one.references) else []
        lines.append(f"static long built_{n};\n__attribute__((constructor)) static void construct_{n}(void)\n"
                     f"{{ built_{n} = built_{n} * 31 + 1;" + "".join(f" built_{n} += {call};" for call in calls) + " }\n")
    if one.local_ifunc:
        lines.append(f"static int setting_{n} = 1; static int *setting_at_{n} = &setting_{n};\n"
                     f"static int ifunc_one_{n}(void) {{ return {n}1; }} static int ifunc_two_{n}(void) {{ return {n}2; }}\n"
                     f"static void *ifunc_choose_{n}(void) {{ return *setting_at_{n} ? ifunc_two_{n} : ifunc_one_{n}; }}\n"
                     f'static int ifunc_{n}(void) __attribute__((ifunc("ifunc_choose_{n}")));\n'
                     f"static int (*ifunc_at_{n})(void) = ifunc_{n};\n")
    if one.asks_for_relr:
        lines.append("extern int packed __attribute__((weak));\nint *asks_for_packed = &packed;\n")
    if one.text_relocation:
        lines.append(TEXT_RELOCATION.format(n, f"data_{n}"))
    return "\n".join(lines)


def definitions(one, versioned=True, shift=0):
    return [line for made in one.definitions.values() for line in define(one, made, versioned, shift)]


def library_text(one, versioned, shift=0):
    needs = [f"int report_{need}(long *, int), pointers_{need}(const void **, int);" for need in one.needs]
    return "\n".join([*needs, *declare(one), *definitions(one, versioned, shift), tables(one), extras(one), body(one)])


def stub_text(one, versioned):
    """The same definitions, and nothing that they or anything else refers to: to link others with."""
    bare = [f"int report_{one.index}(long *v, int c) {{ return c; }} int pointers_{one.index}(const void **p, int c) {{ return c; }}"]
    chain, one.chain = one.chain, 0
    lines = bare + definitions(one, versioned)
    one.chain = chain
    return "\n".join(lines)


def version_script(one):
    """The version script of a versioned library; what has no version stays global without one."""
    lines, before = [], ""
    for node in one.versions:
        names = [made.name for made in one.definitions.values() if node in (made.version, made.old)]
        scope = f"global: {'; '.join(names)};" if names else ""
        lines.append(f"{node} {{ {scope} }}{before};")
        before = " " + node
    return "\n".join(lines) + "\n"


def program_text(closure):
    one = closure.program
    needs = [f"int report_{need}(long *, int), pointers_{need}(const void **, int);" for need in one.needs]
    cxx = "int cxx_report(void);" if closure.cxx else ""
    print_cxx = '\tprintf("cxx %d\\n", cxx_report());' if closure.cxx else ""
    main = f"""
int main(void)
{{
	static long values[4000];
	static const void *pointers[4000];
	int count = report_{PROGRAM}(values, 0), equal;
	printf("values");
	for (int i = 0; i < count; i++)
		printf(" %ld", values[i]);
	count = pointers_{PROGRAM}(pointers, 0);
	printf("\\npointers");
	for (int i = 0; i < count; i++) {{
		for (equal = 0; pointers[equal] != pointers[i]; equal++);
		printf(pointers[i] ? " %d" : " null", equal);
	}}
	puts("");
{print_cxx}
	return 0;
}}
"""
    return "\n".join(["int printf(const char *, ...), puts(const char *);", cxx, *needs, *declare(one), *definitions(one),
                      tables(one), extras(one), body(one), main])


# A program that has nothing for ld.so to do.
STATIC = """
static __thread int own = 3;
static int two(void) { return 2; }
static void *choose(void) { return two; }
static int chosen(void) __attribute__((ifunc("choose")));
int (*at)(void) = chosen;
int main(void) { return own + at() - 5; }
"""

# Weak references to this give an object the version that ld.so wants of one with packed relocations.
PACKED = "int packed;"
PACKED_SCRIPT = "GLIBC_ABI_DT_RELR { packed; };\n"

CXX_HEADER = """
#include <stdexcept>
#include <typeinfo>
struct Shape { virtual ~Shape() {} virtual int area() { return 1; } };
struct Square : Shape { int side; Square(int s) : side(s) {} int area() override { return side * side; } };
struct Failure : std::runtime_error { using std::runtime_error::runtime_error; };
inline int &counter() { static int value = 40; return value; }
template<int N> struct Cell { static int value; };
template<int N> int Cell<N>::value = N;
inline int shared = 5;
"""
CXX_A = CXX_HEADER + """
Shape *make(int side) { counter()++; Cell<3>::value += side; shared++; return new Square(side); }
void fail(int how) { if (how == 1) throw Failure("x"); if (how == 2) throw 17; throw Square(4); }
const std::type_info &type() { return typeid(Square); }
int *cell() { return &Cell<3>::value; }
"""
CXX_B = CXX_HEADER + """
Shape *make(int); void fail(int); const std::type_info &type(); int *cell();
extern "C" int cxx_report()
{
	int sum = 0;
	Shape *shape = make(6);
	if (dynamic_cast<Square *>(shape) && type() == typeid(*shape)) sum += shape->area();
	try { fail(1); } catch (const std::exception &e) { sum += 100 * (dynamic_cast<const Failure *>(&e) != nullptr); }
	try { fail(2); } catch (int number) { sum += number * 1000; }
	try { fail(3); } catch (Shape &caught) { sum += caught.area() * 100000; }
	return sum + counter() + *cell() + shared + (cell() == &Cell<3>::value) * 10000000;
}
"""
