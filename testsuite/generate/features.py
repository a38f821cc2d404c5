"""What closures must have between them: for each feature, whether a chosen closure has it."""


def objects(closure):
    return [*closure.libraries, closure.program]


def any_flag(*wanted):
    return lambda closure: any(all(flag in one.flags for flag in wanted) for one in objects(closure))


def any_object(test):
    return lambda closure: any(test(one) for one in objects(closure))


def any_library(test):
    return lambda closure: any(test(one) for one in closure.libraries)


def any_definition(test):
    return any_object(lambda one: any(test(made) for made in one.definitions.values()))


def definers(closure, name):
    """The libraries that define NAME for others, in the order of the search."""
    found, waiting = [], list(closure.program.needs)
    for index in waiting:  # grows
        found += [index] if name in closure.libraries[index].visible() else []
        waiting += [need for need in closure.libraries[index].needs if need not in waiting]
    return found


def interposed_by_program(closure):
    return any(name in closure.program.definitions and name in one.references and name in one.definitions
               for one in closure.libraries for name in one.visible())


def interposed_by_library(closure):
    return any(name in one.references and one.definitions[name].attribute != "protected" and
               name not in closure.program.definitions and definers(closure, name)[0] != one.index
               for one in closure.libraries for name in one.visible())


def interposes_preloaded(closure):
    """libinterposer.so (life) defines these too."""
    return any(name in one.references for name in ("f0", "f1", "f5", "d0", "d2") for one in objects(closure))


def used_across(closure, kind):
    return any(name in one.references and name not in one.definitions and closure.libraries[index].definitions[name].kind == kind
               for one in objects(closure) for index in range(len(closure.libraries))
               for name in closure.libraries[index].visible())


def has_cycle(closure):
    def reached(index, seen):
        for need in closure.libraries[index].needs:
            if need not in seen:
                seen.add(need)
                reached(need, seen)
        return seen
    return any(one.index in reached(one.index, set()) for one in closure.libraries)


def from_libraries(closure, letters):
    """Names that the program takes from libraries."""
    return [name for name in closure.program.references if name[0] in letters and name not in closure.program.definitions]


def tls_model(name):
    return any_object(lambda one: name in one.models.values())


FEATURES = {
    **{name: any_object(lambda one, name=name: one.cc == name) for name in ("gcc", "clang")},
    **{name: any_object(lambda one, name=name: one.linker == name) for name in ("bfd", "gold", "lld", "mold")},
    **{f"program by {name}": lambda closure, name=name: closure.program.linker == name for name in ("bfd", "gold", "lld", "mold")},
    **{f"hash style {name}": any_flag(f"-Wl,--hash-style={name}") for name in ("gnu", "sysv", "both")},
    "binds now": any_flag("-Wl,-z,now"),
    "binds lazily": any_flag("-Wl,-z,lazy"),
    "IBT PLT": any_flag("-Wl,-z,ibtplt"),
    "IBT PLT of lld": any_flag("-Wl,-z,force-ibt"),
    "no PLT": any_flag("-fno-plt"),
    "PIE": lambda closure: closure.pie,
    "no PIE": lambda closure: not closure.pie,
    "static PIE": lambda closure: closure.static_pie,
    "packed relative relocations": any_flag("-Wl,-z,pack-relative-relocs"),
    "packed relative relocations of lld and mold": any_flag("-Wl,--pack-dyn-relocs=relr"),
    "default version": any_definition(lambda made: made.version),
    "old version": any_definition(lambda made: made.old),
    "reference to an old version": any_object(lambda one: one.old),
    "several versions": any_library(lambda one: len(one.versions) > 2 and one.built_with != "versioned"),
    "reference without version to a versioned library": any_library(lambda one: one.versions and one.built_with == "plain"),
    "reference with version to a library without": any_library(lambda one: one.built_with == "versioned"),
    **{name: any_definition(lambda made, name=name: made.attribute == name) for name in ("weak", "protected", "hidden")},
    "protected data": any_definition(lambda made: made.attribute == "protected" and made.kind in ("data", "bss")),
    "undefined weak": any_object(lambda one: set(one.weak) & {"w0", "w1"}),
    "weak reference that is defined": lambda closure: any(definers(closure, name) for one in objects(closure) for name in one.weak),
    "unique": any_definition(lambda made: made.kind == "unique"),
    "symbolic": any_flag("-Wl,-Bsymbolic"),
    "symbolic functions": any_flag("-Wl,-Bsymbolic-functions"),
    "program interposes": interposed_by_program,
    "library interposes": interposed_by_library,
    "preloaded library interposes": interposes_preloaded,
    "copy relocation": lambda closure: not closure.pie and from_libraries(closure, "d"),
    "copied unique": lambda closure: not closure.pie and from_libraries(closure, "u"),
    "canonical PLT address": lambda closure: not closure.pie and from_libraries(closure, "f"),
    "IFUNC in the program": lambda closure: closure.program.local_ifunc,
    "IFUNC in a library": any_library(lambda one: one.local_ifunc),
    "IFUNC across libraries": lambda closure: used_across(closure, "ifunc"),
    "thread-local across libraries": lambda closure: used_across(closure, "thread"),
    **{f"{name} TLS": tls_model(name) for name in ("global-dynamic", "local-dynamic", "initial-exec", "local-exec")},
    **{f"TLS descriptors by {name}": any_object(lambda one, name=name: one.linker == name and one.models and
                                                "-mtls-dialect=gnu2" in one.flags) for name in ("bfd", "gold", "lld", "mold")},
    "text relocations in a library": any_library(lambda one: one.text_relocation),
    "text relocations in the program": lambda closure: closure.program.text_relocation and closure.pie,
    "cycle": has_cycle,
    "one soname twice": lambda closure: closure.same_soname,
    "RPATH": lambda closure: closure.search == "rpath",
    "RUNPATH": lambda closure: closure.search == "runpath",
    "$ORIGIN of a library": any_library(lambda one: any("ORIGIN" in flag for flag in one.flags)),
    "2 MiB alignment": any_flag("-Wl,-z,max-page-size=2097152"),
    "no spare dynamic entries": any_flag("-Wl,--spare-dynamic-tags=1"),
    "no section headers": any_library(lambda one: one.no_sections),
    "program without section headers": lambda closure: closure.program.no_sections,
    "stripped": any_flag("-s"),
    "stripped program": lambda closure: "-s" in closure.program.flags,
    "not stripped": any_object(lambda one: "-s" not in one.flags),
    "no build id": any_flag("-Wl,--build-id=none"),
    "no RELRO": any_flag("-Wl,-z,norelro"),
    "optimized": any_flag("-O2"),
    "relocations in no order": any_flag("-Wl,-z,nocombreloc"),
    "kept relocations": any_flag("-Wl,--emit-relocs"),
    "no copy relocations": any_flag("-mno-direct-extern-access"),
    "initialized first": any_flag("-Wl,-z,initfirst"),
    "read-only after relocation": any_object(lambda one: one.constant),
    **{f"words {packed} bytes from alignment": any_object(lambda one, packed=packed: one.packed == packed) for packed in (1, 2, 4)},
    "packed relative relocations at even addresses": any_object(
        lambda one: one.packed == 2 and any("relr" in flag or "pack-relative" in flag for flag in one.flags)),
    "addend beyond 32 bits": any_object(lambda one: one.far > 1 << 32),
    "negative addend": any_object(lambda one: one.far < 0),
    "large .bss": any_object(lambda one: one.large > 65536),
    "aligned TLS": any_object(lambda one: one.aligned and any(made.kind == "thread" for made in one.definitions.values())),
    "constructor that calls another library": any_library(
        lambda one: one.constructor and any(name[0] == "f" and name not in one.definitions for name in one.references)),
    "C++": lambda closure: closure.cxx,
    "C++ by clang": lambda closure: closure.cxx and any(cc == "clang++" for cc, _ in closure.cxx.values()),
}
