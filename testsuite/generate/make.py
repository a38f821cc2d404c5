"""Compiles a chosen closure into a private directory."""

from pathlib import Path

from generate import source
from generate.model import PROGRAM
from harness import build, elf

UNDEFINED = {"bfd": "-Wl,--unresolved-symbols=ignore-in-shared-libs", "gold": "-Wl,--unresolved-symbols=ignore-in-shared-libs",
             "lld": "-Wl,--allow-shlib-undefined", "mold": "-Wl,--allow-shlib-undefined"}


class Maker:
    def __init__(self, case, closure):
        self.case, self.closure = case, closure
        self.scripts = {}

    def make(self):
        """Libraries, dependencies first; what is needed in a cycle, or linked as another build, by way of a stub."""
        self.done = {}
        for library in reversed(self.closure.libraries):
            self.done[library.index] = self.library(library)
        if self.closure.search:
            self.second(self.closure.libraries[self.closure.second])
        for name, text, needs in (("libxa.so", source.CXX_A, []), ("libxb.so", source.CXX_B, ["libxa.so"])):
            if self.closure.cxx:
                cc, flags = self.closure.cxx[name]
                self.case.library(name, text, needs, [*flags, "-std=c++17"], lang="c++", cc=cc)
        self.program()
        if self.closure.static_pie:
            self.case.program(source.STATIC, flags=["-static-pie"], name="static")
        for one in [*self.closure.libraries, self.closure.program]:
            if one.no_sections:
                elf.drop_sections(self.path(one))

    def weaken(self, path):
        """Some linkers make the weak reference to `packed` a strong one."""
        rows = [line.split() for line in elf.readelf(path, "--dyn-syms", "-W").splitlines()]
        index = next(int(row[0][:-1]) for row in rows if len(row) > 7 and row[7].split("@")[0] == "packed")
        offset, _ = elf.sections(path)[".dynsym"]
        elf.patch(path, offset + index * 24 + 4, b"\x21")  # st_info: weak, object

    def path(self, one):
        return self.case.prog if one.index == PROGRAM else self.case.path / one.where / one.name

    def script(self, text):
        """The flag for a version script; the name says the contents, for the cache of compiled files."""
        path = build.cache / f"{build.hashlib.sha256(text.encode()).hexdigest()[:16]}.map"
        path.write_text(text)
        return f"-Wl,--version-script={path}"

    def soname(self, one):
        pair = self.closure.same_soname
        return f"lib{pair[0]}-{pair[1]}.so" if one.index in pair else one.name

    def library(self, one, where=None, shift=0):
        versioned = bool(one.versions) and one.built_with != "versioned"
        flags = [*one.flags, *([self.script(source.version_script(one))] if versioned else [])]
        path = self.case.library(one.name, source.library_text(one, versioned, shift), self.needs(one), flags,
                                 where or one.where, self.soname(one), cc=one.cc)
        if one.asks_for_relr:
            self.weaken(path)
        return path

    def second(self, one):
        """Another build of it, which a search path may or may not find first."""
        self.library(one, "other", 500)

    def needs(self, one):
        libs = [self.link_time(index) for index in one.needs]
        if one.asks_for_relr:
            libs.append(self.case.library("libc.so.6", source.PACKED, [], ["-nostdlib", self.script(source.PACKED_SCRIPT)], "stub"))
        return libs

    def link_time(self, index):
        """The file to link with in place of library INDEX."""
        one = self.closure.libraries[index]
        if index in self.done and one.built_with == "same" and index not in self.closure.same_soname:
            return self.done[index]
        versioned = one.built_with == "versioned" or (bool(one.versions) and one.built_with == "same")
        text = source.stub_text(one, versioned)
        flags = ["-O0", *([self.script(source.version_script(one))] if versioned else [])]
        return self.case.library(one.name, text, [], flags, "stub", one.name)

    def program(self):
        one = self.closure.program
        libs = self.needs(one)
        if self.closure.cxx:
            libs.append(Path(self.case.lib / "libxb.so"))
        flags = [*one.flags, UNDEFINED[one.linker]]
        self.case.program(source.program_text(self.closure), libs, flags, pie=self.closure.pie, cc=one.cc)
