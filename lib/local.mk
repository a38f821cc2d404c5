# libfastprelink: the engine.  A convenience library; its interface is not for installing yet.

noinst_LIBRARIES += lib/libfastprelink.a
lib_libfastprelink_a_SOURCES = \
	lib/arena.c \
	lib/arena.h \
	lib/bind/answers.c \
	lib/bind/answers.h \
	lib/bind/bind.c \
	lib/bind/bind.h \
	lib/bind/lookup.c \
	lib/bind/lookup.h \
	lib/bind/scope.c \
	lib/bind/scope.h \
	lib/bind/walk.c \
	lib/elf/check.c \
	lib/elf/dynamic.c \
	lib/elf/internal.h \
	lib/elf/object.c \
	lib/elf/object.h \
	lib/elf/versions.c \
	lib/graph/closure.c \
	lib/graph/closure.h \
	lib/graph/expand.c \
	lib/graph/hwcaps.c \
	lib/graph/internal.h \
	lib/graph/interp.c \
	lib/graph/ldcache.c \
	lib/graph/ldcache.h \
	lib/graph/ldconf.c \
	lib/graph/loader.c \
	lib/graph/order.c \
	lib/graph/preload.c \
	lib/graph/rootpath.c \
	lib/graph/rootpath.h \
	lib/graph/search.c \
	lib/graph/strmap.c \
	lib/graph/strmap.h \
	lib/graph/trace.c \
	lib/graph/versions.c \
	lib/layout/layout.c \
	lib/layout/layout.h \
	lib/reason.c \
	lib/reason.h \
	lib/reloc/machines.h \
	lib/reloc/reloc.c \
	lib/reloc/reloc.h \
	lib/reloc/x86_64.c \
	lib/rewrite/buffer.c \
	lib/rewrite/calls.h \
	lib/rewrite/carrier.c \
	lib/rewrite/carrier.h \
	lib/rewrite/commit.c \
	lib/rewrite/commit.h \
	lib/rewrite/count.c \
	lib/rewrite/crc32.c \
	lib/rewrite/crc32.h \
	lib/rewrite/digest.c \
	lib/rewrite/digest.h \
	lib/rewrite/holder.h \
	lib/rewrite/image.c \
	lib/rewrite/image.h \
	lib/rewrite/natural.c \
	lib/rewrite/natural.h \
	lib/rewrite/pages.c \
	lib/rewrite/pages.h \
	lib/rewrite/program.c \
	lib/rewrite/program.h \
	lib/rewrite/relative.c \
	lib/rewrite/relative.h \
	lib/rewrite/rows.c \
	lib/rewrite/runs.c \
	lib/rewrite/shift.c \
	lib/rewrite/shift.h \
	lib/rewrite/shiftable.c \
	lib/rewrite/stamp.c \
	lib/rewrite/stamp.h \
	lib/rewrite/table.c \
	lib/rewrite/table.h \
	lib/rewrite/tags.c \
	lib/rewrite/tags.h \
	lib/rewrite/tail.c \
	lib/rewrite/tail.h \
	lib/rewrite/undo.c \
	lib/rewrite/undo.h \
	lib/rewrite/undo_format.h \
	lib/rewrite/undo_words.c \
	lib/rewrite/undo_words.h \
	lib/system/bindings.c \
	lib/system/batch.h \
	lib/system/cache.c \
	lib/system/cache.h \
	lib/system/cache_file.c \
	lib/system/config.c \
	lib/system/config.h \
	lib/system/current.c \
	lib/system/current.h \
	lib/system/directives.c \
	lib/system/directives.h \
	lib/system/guard.c \
	lib/system/guard.h \
	lib/system/internal.h \
	lib/system/install.c \
	lib/system/known.c \
	lib/system/libraries.c \
	lib/system/note.c \
	lib/system/parallel.c \
	lib/system/parallel.h \
	lib/system/pattern.c \
	lib/system/pattern.h \
	lib/system/place.c \
	lib/system/place.h \
	lib/system/policy.c \
	lib/system/policy.h \
	lib/system/prelink.c \
	lib/system/prove.c \
	lib/system/prove.h \
	lib/system/relocate.c \
	lib/system/replace.c \
	lib/system/restore.c \
	lib/system/run.c \
	lib/system/run.h \
	lib/system/scan.c \
	lib/system/scan.h \
	lib/system/start.c \
	lib/system/start.h \
	lib/system/select.c \
	lib/system/select.h \
	lib/system/verify.c \
	lib/system/walk.c \
	lib/system/walk.h \
	lib/system/whole.c

libfastprelink_libs = lib/libfastprelink.a $(LIBELF_LIBS) $(ZSTD_LIBS) $(NETTLE_LIBS)

# It holds the stub.
lib/rewrite/carrier.$(OBJEXT): lib/rewrite/stub_bytes.h

# The shipped configuration, for a program that is not installed.
lib/system/config.$(OBJEXT): lib/system/shipped_conf.h
BUILT_SOURCES += lib/system/shipped_conf.h
CLEANFILES += lib/system/shipped_conf.h
lib/system/shipped_conf.h: $(dist_vendorconf_DATA)
	$(AM_V_GEN)$(MKDIR_P) $(@D) && { \
		echo '/* Generated from the shipped configuration. */'; \
		echo 'static const struct { const char *name, *text; } shipped_files[] = {'; \
		for file in $^; do \
			echo "{ \"$${file##*/}\","; \
			sed -e 's/[\\"]/\\&/g' -e 's/.*/"&\\n"/' $$file; \
			echo '},'; \
		done; \
		echo '};'; } >$@.new && mv $@.new $@
