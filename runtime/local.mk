# The freestanding pieces: rt, the image that the stub maps into a starting program, and stub.bin, the code that the
# carrier gets.  Both are flat: what the linker laid out, without ELF headers, and without relocations, because nobody
# would apply them.

runtime_headers = \
	include/fastprelink/abi.h \
	include/fastprelink/identity.h \
	runtime/rt.h \
	runtime/x86_64.h

runtime_sources = \
	runtime/check.c \
	runtime/fill.c \
	runtime/memory.c \
	runtime/pages.c \
	runtime/report.c \
	runtime/rt.c
runtime_objects = $(runtime_sources:.c=.rt.o)

EXTRA_DIST += \
	$(runtime_headers) \
	$(runtime_sources) \
	runtime/rt.lds \
	runtime/seal.c \
	runtime/stub-x86_64.S

noinst_DATA = runtime/rt
CLEANFILES += $(runtime_objects) runtime/rt runtime/rt.bin runtime/rt.elf runtime/seal \
	runtime/stub-$(RUNTIME_MACHINE).rt.o runtime/stub.elf runtime/stub.bin lib/rewrite/stub_bytes.h

RUNTIME_COMPILE = $(CC) -I$(srcdir)/include -I$(srcdir)/runtime $(RUNTIME_CFLAGS) $(WARNING_CFLAGS)
RUNTIME_LINK = $(CC) -nostdlib -static-pie -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,norelro \
	-Wl,--no-undefined -Wl,--gc-sections $(RUNTIME_LDFLAGS)

AM_V_RT = $(am__v_RT_@AM_V@)
am__v_RT_ = $(am__v_RT_@AM_DEFAULT_V@)
am__v_RT_0 = @echo "  RT      " $@;
am__v_RT_1 =

# A command that fails when the linked file $@ has relocations left.
refuse_relocations = \
	if $(READELF) -rW $@ | grep R_; then \
		echo "$@: a flat image cannot be relocated" >&2; rm -f $@; exit 1; \
	fi

# Few and small files: each object depends on all headers.
runtime/%.rt.o: runtime/%.c $(runtime_headers) Makefile
	@$(MKDIR_P) $(@D)
	$(AM_V_RT)$(RUNTIME_COMPILE) -c -o $@ $<

runtime/%.rt.o: runtime/%.S $(runtime_headers) Makefile
	@$(MKDIR_P) $(@D)
	$(AM_V_RT)$(RUNTIME_COMPILE) -c -o $@ $<

runtime/rt.elf: $(runtime_objects) runtime/rt.lds
	$(AM_V_RT)$(RUNTIME_LINK) -Wl,-T,$(srcdir)/runtime/rt.lds -o $@ $(runtime_objects)
	@$(refuse_relocations)

runtime/rt.bin: runtime/rt.elf
	$(AM_V_RT)$(OBJCOPY) -O binary -j .image $< $@

runtime/seal: runtime/seal.c include/fastprelink/abi.h
	@$(MKDIR_P) $(@D)
	$(AM_V_RT)$(CC_FOR_BUILD) -std=gnu11 -O -I$(srcdir)/include -o $@ $(srcdir)/runtime/seal.c

runtime/rt: runtime/rt.bin runtime/seal
	$(AM_V_RT)runtime/seal runtime/rt.bin $@ && chmod 755 $@

runtime/stub.elf: runtime/stub-$(RUNTIME_MACHINE).rt.o
	$(AM_V_RT)$(RUNTIME_LINK) -Wl,-e,fp_stub -o $@ $<
	@$(refuse_relocations)

runtime/stub.bin: runtime/stub.elf
	$(AM_V_RT)$(OBJCOPY) -O binary -j .text $< $@

# The library holds the stub's bytes as an array.
lib/rewrite/stub_bytes.h: runtime/stub.bin
	@$(MKDIR_P) $(@D)
	$(AM_V_GEN){ \
		echo '/* Made from runtime/stub-$(RUNTIME_MACHINE).S. */'; \
		echo 'static const unsigned char fp_stub_bytes[] = {'; \
		od -An -v -tx1 runtime/stub.bin | sed 's/ \([0-9a-f][0-9a-f]\)/ 0x\1,/g'; \
		echo '};'; \
	} >$@-t && mv -f $@-t $@

install-exec-local: runtime/rt
	$(MKDIR_P) '$(DESTDIR)$(pkglibdir)'
	$(INSTALL_SCRIPT) runtime/rt '$(DESTDIR)$(pkglibdir)/rt'

uninstall-local:
	rm -f '$(DESTDIR)$(pkglibdir)/rt'
	rmdir '$(DESTDIR)$(pkglibdir)' 2>/dev/null || :
